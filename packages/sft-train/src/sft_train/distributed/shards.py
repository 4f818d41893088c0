"""Whether a model is really shared out, told from its weights."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from sft_schema import TrainingError
from sft_schema.config import ShardingSection
from sft_schema.engine import zero_stage


def check_sharded(model: nn.Module, cfg: ShardingSection, processes: int) -> str | None:
    """Compares what an engine has made of a model with what was asked for.

    Args:
        model: as it is trained: the wrapper, where there is one.
        cfg: FSDP2, DeepSpeed, or neither.
        processes: that train together.

    Returns:
        One sentence on the shards of this process; None when nothing is to be shared out.

    Raises:
        TrainingError: the model is not what was asked for.
    """
    if cfg.fsdp_version is not None:
        return _check_fsdp(model, processes)
    return None if cfg.deepspeed is None else _check_zero(model, zero_stage(cfg), processes)


def _check_fsdp(model: nn.Module, processes: int) -> str:
    if not isinstance(model, FSDPModule):
        raise _not_asked_for("FSDP2", type(model).__name__)
    weights = [each for each in model.parameters() if each.is_floating_point()]
    shards = [each for each in weights if isinstance(each, DTensor)]
    if len(shards) < len(weights):
        raise _not_asked_for("FSDP2", f"{len(weights) - len(shards)} of {len(weights)} weights whole")
    held, whole = sum(each.to_local().numel() for each in shards), sum(each.numel() for each in shards)
    room = sum(each.numel() // max(each.shape[0], 1) for each in shards)  # a row of each is not cut
    if held > whole / processes + room:
        raise _not_asked_for("FSDP2", f"{held} of {whole} weights in this process, of {processes}")
    return f"FSDP2: {held:,} of {whole:,} weights in this process"


def _check_zero(model: Any, stage: int, processes: int) -> str:
    if not hasattr(model, "zero_optimization_stage"):
        raise _not_asked_for("DeepSpeed", type(model).__name__)
    if model.zero_optimization_stage() != stage:
        raise _not_asked_for(f"ZeRO {stage}", f"ZeRO {model.zero_optimization_stage()}")
    weights = [each for each in model.module.parameters() if each.requires_grad]
    whole = sum(getattr(each, "ds_numel", each.numel()) for each in weights)
    if stage == 3 and any(not hasattr(each, "ds_id") for each in weights):
        raise _not_asked_for("ZeRO 3", "weights that are whole")
    groups = [group["params"] for group in model.optimizer.optimizer.param_groups]
    if stage == 3:
        groups = [model.optimizer.fp32_partitioned_groups_flat]
    held = sum(each.numel() for group in groups for each in group)
    if processes > 1 and held > whole / processes + sum(256 for _ in weights):
        raise _not_asked_for(f"ZeRO {stage}", f"optimizer states for {held} of {whole} weights in this process")
    return f"DeepSpeed ZeRO {stage}: optimizer states for {held:,} of {whole:,} trained weights in this process"


def _not_asked_for(wanted: str, found: str) -> TrainingError:
    fix = "report it with the versions of torch, transformers and accelerate; nothing was trained"
    return TrainingError(f"{wanted} was asked for, and the model is {found}", fix=fix)
