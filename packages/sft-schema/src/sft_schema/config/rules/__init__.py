"""Rules between settings, as a table of small functions.

A rule reads a config whose single values are fine and answers with what is impossible about their
combination. All rules run on every config, so that one look shows every problem.

A setting that would have no effect is refused like one that contradicts another: what a file asks for is done or
refused, never dropped. Rules look at values, not at which keys were written out, so that a resolved config, which
holds every default, passes as the file that it came from (`lora_` settings without an adapter are the exception: a
resolved config leaves them out).
"""

from sft_schema.config.rules.adapter import ADAPTER_RULES
from sft_schema.config.rules.attention import ATTENTION_RULES
from sft_schema.config.rules.compute import COMPUTE_RULES
from sft_schema.config.rules.context import CONTEXT_RULES
from sft_schema.config.rules.data import DATA_RULES
from sft_schema.config.rules.device import DEVICE_RULES
from sft_schema.config.rules.evaluation import EVALUATION_RULES
from sft_schema.config.rules.mask import MASK_RULES
from sft_schema.config.rules.optimizer import OPTIMIZER_RULES
from sft_schema.config.rules.outcome import OUTCOME_RULES
from sft_schema.config.rules.pack import PACKING_RULES
from sft_schema.config.rules.picture import PICTURE_RULES
from sft_schema.config.rules.quantise import QUANTISATION_RULES
from sft_schema.config.rules.rule import Check, Finding, Rule
from sft_schema.config.rules.schedule import SCHEDULE_RULES
from sft_schema.config.rules.service import SERVICE_RULES
from sft_schema.config.rules.shard import SHARDING_RULES
from sft_schema.config.rules.train import TRAIN_RULES

RULES: tuple[Rule, ...] = (
    *ATTENTION_RULES,
    *ADAPTER_RULES,
    *QUANTISATION_RULES,
    *DATA_RULES,
    *PACKING_RULES,
    *MASK_RULES,
    *PICTURE_RULES,
    *EVALUATION_RULES,
    *OPTIMIZER_RULES,
    *SCHEDULE_RULES,
    *COMPUTE_RULES,
    *TRAIN_RULES,
    *OUTCOME_RULES,
    *SERVICE_RULES,
    *DEVICE_RULES,
    *CONTEXT_RULES,
    *SHARDING_RULES,
)

__all__ = ["RULES", "Check", "Finding", "Rule"]
