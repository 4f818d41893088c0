"""Scores of a model on held-out conversations, and on tasks of others."""

from sft_train.evaluate.answers import left_padded, until_stop
from sft_train.evaluate.harness import Harness
from sft_train.evaluate.score import AnswerTable, Examiner, Score

__all__ = ["AnswerTable", "Examiner", "Harness", "Score", "left_padded", "until_stop"]
