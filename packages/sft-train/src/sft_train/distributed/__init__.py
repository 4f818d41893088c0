"""Models that are shared out over processes: FSDP2 through accelerate, ZeRO through DeepSpeed."""

from sft_train.distributed.engine import engine_arguments, joined, leave, settle_engine
from sft_train.distributed.sharded import (
    SHARDS,
    is_in_shards,
    load_sharded_optimizer,
    load_sharded_weights,
    save_shards,
)
from sft_train.distributed.shards import check_sharded
from sft_train.distributed.state import load_weights
from sft_train.distributed.whole import Engine, FsdpState, SharedState, ZeroState, engine_of
from sft_train.distributed.zero import Trained, fill_zero

__all__ = [
    "SHARDS",
    "Engine",
    "FsdpState",
    "SharedState",
    "Trained",
    "ZeroState",
    "check_sharded",
    "engine_arguments",
    "engine_of",
    "fill_zero",
    "is_in_shards",
    "joined",
    "leave",
    "load_sharded_optimizer",
    "load_sharded_weights",
    "load_weights",
    "save_shards",
    "settle_engine",
]
