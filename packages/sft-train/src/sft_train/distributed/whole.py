"""One interface to the state of a run, whichever engine shares it out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import nn
from torch.optim import Optimizer

from sft_schema.config import ShardingSection
from sft_train.distributed.sharded import is_in_shards, load_sharded_optimizer, load_sharded_weights
from sft_train.distributed.state import (
    Weights,
    fill_shard,
    load_optimizer,
    load_weights,
    whole_optimizer,
    whole_weights,
)
from sft_train.distributed.zero import Trained, load_zero, whole_zero_optimizer, whole_zero_weights

Engine = Literal["fsdp", "deepspeed"]


def engine_of(cfg: ShardingSection) -> Engine | None:
    """What shares the model out; None when each process has a whole copy."""
    if cfg.fsdp_version is not None:
        return "fsdp"
    return None if cfg.deepspeed is None else "deepspeed"


class SharedState(Protocol):
    """Weights and optimizer state as those of one process. Every process calls every method."""

    def weights(self, *, keep: bool) -> Weights:
        """What a checkpoint holds of the model, in the processes that keep it."""
        ...

    def optimizer(self, *, keep: bool) -> dict[str, Any]:
        """The `state_dict` of the optimizer, in the processes that keep it."""
        ...

    def load(self, folder: Path) -> None:
        """Goes on from a checkpoint."""
        ...


@dataclass(frozen=True, slots=True)
class FsdpState:
    """Of a model that FSDP2 shards, and its optimizer."""

    model: nn.Module
    trained_by: Optimizer

    def weights(self, *, keep: bool) -> Weights:
        """See `SharedState`."""
        return whole_weights(self.model, keep=keep)

    def optimizer(self, *, keep: bool) -> dict[str, Any]:
        """See `SharedState`."""
        return whole_optimizer(self.trained_by, keep=keep)

    def load(self, folder: Path) -> None:
        """See `SharedState`."""
        if is_in_shards(folder):
            load_sharded_weights(self.model, folder)
            load_sharded_optimizer(self.trained_by, folder)
            return
        load_weights(self.model, folder, fill_shard)
        load_optimizer(self.trained_by, folder)


@dataclass(frozen=True, slots=True)
class ZeroState:
    """Of DeepSpeed's engine; `trained` are the weights of the optimizer before it."""

    engine: Any
    trained: Trained

    def weights(self, *, keep: bool) -> Weights:
        """See `SharedState`."""
        return whole_zero_weights(self.engine, keep=keep)

    def optimizer(self, *, keep: bool) -> dict[str, Any]:
        """See `SharedState`."""
        return whole_zero_optimizer(self.engine, self.trained, keep=keep)

    def load(self, folder: Path) -> None:
        """See `SharedState`. The model was filled before the engine was made of it."""
        load_zero(self.engine, self.trained, folder)
