"""Scores of a model on held-out conversations."""

from sft_train.evaluate.score import AnswerTable, Examiner, Score

__all__ = ["AnswerTable", "Examiner", "Score"]
