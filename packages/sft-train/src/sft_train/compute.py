"""Which device and number format a run computes in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from sft_schema import ConfigError, Issue, SftConfig
from sft_schema.config import PrecisionSection


@dataclass(frozen=True, slots=True)
class Compute:
    """What was asked for, resolved on this machine.

    Attributes:
        bf16: compute in bfloat16 (autocast).
        use_cpu: there is no CUDA device to use.
        fp16: compute in float16, with loss scaling.
        weights: format in which the base model is loaded.
    """

    bf16: bool
    use_cpu: bool
    fp16: bool = False
    weights: torch.dtype = torch.float32


def resolve_compute(cfg: SftConfig) -> Compute:
    """Device and number format on this machine.

    `bf16: auto` is bfloat16 on a CUDA device that has it and float32 elsewhere: on most CPUs bfloat16 is
    slower. `bf16: true` is honoured on a CPU too. Frozen weights are cast to bfloat16 for each product of such a run
    anyway, so under an adapter they are held in it.

    Raises:
        ConfigError: `bf16: true` on a CUDA device without bfloat16, `fp16: true` without a CUDA device, or
            `dtype: bfloat16` where the run computes in float32.
    """
    cuda = torch.cuda.is_available()
    able = not cuda or torch.cuda.is_bf16_supported()
    if cfg.bf16 is True and not able:
        message = f"{torch.cuda.get_device_name()} has no bfloat16"
        raise ConfigError([Issue("bf16_not_available", ("bf16",), message, "set `bf16: false`")])
    if cfg.fp16 and not cuda:
        message = "float16 with loss scaling needs a CUDA device, and there is none"
        raise ConfigError([Issue("fp16_not_available", ("fp16",), message, "set `fp16: false` and `bf16: auto`")])
    if cfg.fp16:
        return Compute(bf16=False, use_cpu=False, fp16=True)
    bf16 = (cuda and able) if cfg.bf16 == "auto" else cfg.bf16
    if cfg.dtype == "bfloat16" and not bf16:
        message = (
            "`bf16: auto` computes in float32 on this machine, and dtype bfloat16 would lose digits of the weights"
        )
        raise ConfigError([Issue("dtype_not_computed_in", ("dtype",), message, "set `bf16: true`, or `dtype: auto`")])
    halves = bf16 and (cfg.dtype == "bfloat16" or (cfg.dtype == "auto" and cfg.adapter is not None))
    return Compute(bf16, use_cpu=not cuda, weights=torch.bfloat16 if halves else torch.float32)


def hold_trained_in_float32(model: nn.Module, cfg: PrecisionSection) -> None:
    """Casts the weights that are trained to float32, unless `dtype: bfloat16` asks for what loses small updates.

    Args:
        model: with its adapter, if it has one; changed in place.
        cfg: what weights are held in.
    """
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype == torch.bfloat16 and cfg.dtype != "bfloat16":
            parameter.data = parameter.data.float()


def holds_halves(model: nn.Module) -> bool:
    """Whether some weights are bfloat16, so that the model computes under autocast alone where others are not."""
    return any(parameter.dtype == torch.bfloat16 for parameter in model.parameters())


def set_float32_products(cfg: PrecisionSection) -> None:
    """Lets GPUs shorten the factors of float32 products to TensorFloat-32, or forbids it.

    It holds for the whole process. Devices without TensorFloat-32 compute as they always do, which is more exact.
    """
    precision = "tf32" if cfg.tf32 else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision
    torch.backends.cudnn.rnn.fp32_precision = precision
