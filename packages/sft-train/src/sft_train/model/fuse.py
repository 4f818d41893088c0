"""Ops of sft-kernels in the model's layers."""

from __future__ import annotations

from torch import nn

from sft_kernels import replace
from sft_schema import ConfigError, Issue
from sft_schema.config import MemorySection
from sft_train.compute import Compute


def fuse_layers(model: nn.Module, cfg: MemorySection, compute: Compute) -> replace.Replacements:
    """Replaces the forwards of the model's modules as `fused_kernels` says; no weight and no name changes.

    On a CUDA device each op is first tried there against its reference. On the CPU the references run, which is for
    checks: they are no faster than the model's own layers.

    Args:
        model: with its adapter, before it is moved, wrapped or compiled.
        cfg: which ops.
        compute: the device of the run.

    Returns:
        What was replaced, and what was not and why; nothing at all when nothing was asked for.

    Raises:
        ConfigError: an op that was asked for by name fits no module of this model, or all were and none does.
    """
    wanted = cfg.fused_kernels
    if wanted == "auto":
        wanted = not compute.use_cpu
    if not wanted:
        return replace.nothing()
    ops = None if wanted is True else wanted
    try:
        done = replace.apply(model, ops, None if compute.use_cpu else "cuda")
    except ValueError as error:
        raise _refused(str(error)) from error
    if cfg.fused_kernels is True and not done.replaced:
        raise _refused(f"none of {', '.join(replace.OPS)} fits a layer of this model")
    return done


def _refused(message: str) -> ConfigError:
    fix = "write `fused_kernels: auto`, which uses what fits, or `false`"
    return ConfigError([Issue("fused_kernels", ("fused_kernels",), message, fix)])
