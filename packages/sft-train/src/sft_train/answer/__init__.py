"""Answers of a trained model: to a conversation as they are generated, or to many prompts at once."""

from sft_train.answer.generate import Answerer, End
from sft_train.answer.load import TrainedModel, load_trained
from sft_train.answer.pieces import TextPieces
from sft_train.answer.settings import Sampling

__all__ = ["Answerer", "End", "Sampling", "TextPieces", "TrainedModel", "load_trained"]
