"""The model and its tokenizer."""

from sft_train.model.generation import set_generation_defaults
from sft_train.model.load import load_model
from sft_train.model.tokenizer import load_tokenizer

__all__ = ["load_model", "load_tokenizer", "set_generation_defaults"]
