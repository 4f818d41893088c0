"""Scores of a model on held-out conversations."""

from sft_train.evaluate.score import Examiner, Score

__all__ = ["Examiner", "Score"]
