"""What an absent key means beside another that is given, as a table.

Filled in before a config is checked, so that the config itself, and the copy of it that a run keeps, say it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Implied:
    """One row.

    Attributes:
        key: the absent key.
        value: what it means then.
        given: keys of which one with a value other than 0 or false is enough.
    """

    key: str
    value: Any
    given: tuple[str, ...]


IMPLIED: tuple[Implied, ...] = (
    Implied("save_strategy", "steps", ("save_steps", "saves_per_epoch")),
    Implied("eval_strategy", "steps", ("eval_steps", "evals_per_epoch")),
    Implied("load_best_model_at_end", True, ("early_stopping_patience",)),
    Implied("fsdp_version", 2, ("fsdp_config",)),
    Implied("use_wandb", True, ("wandb_project",)),
    Implied("use_trackio", True, ("trackio_project_name",)),
    Implied("use_mlflow", True, ("mlflow_experiment_name",)),
    Implied("use_comet", True, ("comet_project_name",)),
)


def implied(values: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """What holds for the keys of a file: the absent key, its value, and the key that implies it."""
    for row in IMPLIED:
        given = next((key for key in row.given if values.get(key)), None)
        if given is not None and row.key not in values:
            yield row.key, row.value, given
