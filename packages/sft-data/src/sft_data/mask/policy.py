"""Which turns and stop tokens are trained, for one data set."""

from __future__ import annotations

from dataclasses import dataclass

from sft_schema.config import DatasetConfig, MaskSection, TrainOnEos


@dataclass(frozen=True, slots=True)
class MaskPolicy:
    """The masking settings of one data set.

    Attributes:
        train_on_inputs: every token is trained.
        train_on_eos: whose stop tokens are trained.
        roles_to_train: roles whose turns are trained.
        allow_special: special tokens written out inside a message are let through.
    """

    train_on_inputs: bool
    train_on_eos: TrainOnEos
    roles_to_train: frozenset[str]
    allow_special: bool

    @classmethod
    def of(cls, cfg: MaskSection, dataset: DatasetConfig) -> MaskPolicy:
        """The data set's own settings, else the top-level ones."""
        inputs = cfg.train_on_inputs if dataset.train_on_inputs is None else dataset.train_on_inputs
        roles = cfg.roles_to_train if dataset.roles_to_train is None else dataset.roles_to_train
        eos = dataset.train_on_eos or cfg.train_on_eos
        return cls(inputs, eos, frozenset(roles), cfg.special_tokens_in_content == "allow")
