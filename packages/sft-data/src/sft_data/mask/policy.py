"""Which turns and stop tokens are trained, for one data set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sft_schema.config import DatasetConfig, MaskSection, TrainOnEos
from sft_schema.record import Conversation


@dataclass(frozen=True, slots=True)
class MaskPolicy:
    """The masking settings of one data set.

    Attributes:
        train_on_inputs: every token is trained.
        train_on_eos: whose stop tokens are trained, where the stop token is the tokenizer's eos token.
        train_on_eot: the same for other stop tokens.
        roles_to_train: roles whose turns are trained.
        mask_history: the last trained turn alone is trained.
        train_on_reasoning: reasoning fields of trained turns are trained.
        special_in_content: `error`, `text` or `allow`.
    """

    train_on_inputs: bool
    train_on_eos: TrainOnEos
    train_on_eot: TrainOnEos
    roles_to_train: frozenset[str]
    mask_history: bool
    train_on_reasoning: bool
    special_in_content: str

    @classmethod
    def of(cls, cfg: MaskSection, dataset: DatasetConfig) -> MaskPolicy:
        """The data set's own settings, else the top-level ones; aliases among the roles are resolved."""
        own = dataset.roles_to_train
        aliases = {name: role for role, names in (dataset.roles or {}).items() for name in names}
        eos = dataset.train_on_eos or cfg.train_on_eos
        reasoning = cfg.train_on_reasoning if dataset.train_on_reasoning is None else dataset.train_on_reasoning
        return cls(
            train_on_inputs=cfg.train_on_inputs if dataset.train_on_inputs is None else dataset.train_on_inputs,
            train_on_eos=eos,
            train_on_eot=dataset.train_on_eot or cfg.train_on_eot or eos,
            roles_to_train=frozenset(aliases.get(role, role) for role in (cfg.roles_to_train if own is None else own)),
            mask_history=cfg.mask_history if dataset.mask_history is None else dataset.mask_history,
            train_on_reasoning=reasoning,
            special_in_content=cfg.special_tokens_in_content,
        )

    def trained_messages(self, conversation: Conversation) -> frozenset[int]:
        """Messages that are trained: what the row says about one counts before its role."""
        in_part = {part.message for part in conversation.parts}
        said = conversation.trained or (None,) * len(conversation.messages)
        chosen = [
            index
            for index, (message, flag) in enumerate(zip(conversation.messages, said, strict=True))
            if (flag if flag is not None else index in in_part or message.role in self.roles_to_train)
        ]
        return frozenset(chosen[-1:] if self.mask_history else chosen)

    def untrained_inputs(self, conversation: Conversation) -> Iterable[int]:
        """Messages that the row itself takes out, with `train_on_inputs`."""
        return (index for index, flag in enumerate(conversation.trained) if flag is False)
