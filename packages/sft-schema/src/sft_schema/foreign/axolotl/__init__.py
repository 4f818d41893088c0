"""axolotl's keys for supervised fine-tuning, and what each of them means here.

Source: its public configuration schema and documentation (version 0.18, July 2026).
"""

from __future__ import annotations

from sft_schema.foreign.answer import table
from sft_schema.foreign.axolotl.adapter import ADAPTER
from sft_schema.foreign.axolotl.data import DATA, LENGTH
from sft_schema.foreign.axolotl.dataset import AXOLOTL_DATASET
from sft_schema.foreign.axolotl.model import ATTENTION, MODEL, TOKENIZER
from sft_schema.foreign.axolotl.nested import NESTED
from sft_schema.foreign.axolotl.plugins import PLUGINS
from sft_schema.foreign.axolotl.rl import RL
from sft_schema.foreign.axolotl.run import DEVICES, EVALUATION, LOGGING, OWN, SAVING
from sft_schema.foreign.axolotl.training import BATCHES, LOSS, OPTIMIZER, PRECISION

AXOLOTL = table(
    "axolotl",
    *(*MODEL, *TOKENIZER, *ATTENTION, *DATA, *LENGTH, *ADAPTER),
    *(*BATCHES, *OPTIMIZER, *LOSS, *PRECISION, *PLUGINS, *RL),
    *(*SAVING, *EVALUATION, *LOGGING, *DEVICES, *OWN),
)

__all__ = ["AXOLOTL", "AXOLOTL_DATASET", "NESTED"]
