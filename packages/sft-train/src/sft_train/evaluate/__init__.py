"""Scores of a model on held-out conversations."""

from sft_train.evaluate.answers import left_padded, until_stop
from sft_train.evaluate.score import Examiner, Score

__all__ = ["Examiner", "Score", "left_padded", "until_stop"]
