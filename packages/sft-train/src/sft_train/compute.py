"""Which device and number format a run computes in."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sft_schema import ConfigError, Issue
from sft_schema.config import PrecisionSection


@dataclass(frozen=True, slots=True)
class Compute:
    """What was asked for, resolved on this machine.

    Attributes:
        bf16: compute in bfloat16 over float32 weights (autocast).
        use_cpu: there is no CUDA device to use.
        fp16: compute in float16 over float32 weights, with loss scaling.
    """

    bf16: bool
    use_cpu: bool
    fp16: bool = False


def resolve_compute(cfg: PrecisionSection) -> Compute:
    """Device and number format on this machine.

    `bf16: auto` is bfloat16 on a CUDA device that has it and float32 elsewhere: on most CPUs bfloat16 is
    slower. `bf16: true` is honoured on a CPU too.

    Raises:
        ConfigError: `bf16: true` on a CUDA device without bfloat16, or `fp16: true` without a CUDA device.
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
    return Compute(bf16=(cuda and able) if cfg.bf16 == "auto" else cfg.bf16, use_cpu=not cuda)


def set_float32_products(cfg: PrecisionSection) -> None:
    """Lets GPUs shorten the factors of float32 products to TensorFloat-32, or forbids it.

    It holds for the whole process. Devices without TensorFloat-32 compute as they always do, which is more exact.
    """
    precision = "tf32" if cfg.tf32 else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision
    torch.backends.cudnn.rnn.fp32_precision = precision
