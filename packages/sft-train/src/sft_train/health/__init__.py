"""Whether a run goes as a healthy one does, told from the numbers that it logs.

Importing this imports neither torch nor transformers.
"""

from sft_train.health.detect import detect, findings
from sft_train.health.history import History, RunFacts, TrainLine
from sft_train.health.table import SYMPTOMS, Symptom, finding

__all__ = ["SYMPTOMS", "History", "RunFacts", "Symptom", "TrainLine", "detect", "finding", "findings"]
