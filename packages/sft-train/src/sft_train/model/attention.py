"""Whether an attention backend can train on this machine, and the one of our own."""

from __future__ import annotations

from collections.abc import Callable

from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

from sft_kernels.transformers import NAME, register_attention
from sft_schema import BACKENDS, AttentionBackend, ConfigError, Issue
from sft_train.compute import Compute

_INSTALLED: dict[str, Callable[[], bool]] = {
    "flash-attn": is_flash_attn_2_available,
    "flash-attn-3": is_flash_attn_3_available,
}


def prepare_backend(name: str, compute: Compute) -> None:
    """Refuses a backend that cannot train here, and makes ours known to transformers if it is asked for.

    Args:
        name: see `check_backend`.
        compute: see `check_backend`.

    Raises:
        ConfigError: as `check_backend`.
    """
    check_backend(name, compute)
    if name == NAME:
        register_attention()


def check_backend(name: str, compute: Compute) -> None:
    """Refuses a backend that cannot train here, naming those that can.

    Args:
        name: `attn_implementation`, a row of `sft_schema.BACKENDS`.
        compute: the device and number format of the run.

    Raises:
        ConfigError: it needs a CUDA device, a library, or bfloat16, and the run lacks it.
    """
    problem = backend_problem(BACKENDS[name], compute)
    if problem is None:
        return
    able = [row.name for row in BACKENDS.values() if backend_problem(row, compute) is None]
    fix = f"set `attn_implementation` to one of {', '.join(able)}"
    raise ConfigError([Issue("attention_not_available", ("attn_implementation",), f"{name} {problem}", fix)])


def backend_problem(backend: AttentionBackend, compute: Compute) -> str | None:
    """Why a backend cannot train here, as the end of a sentence that begins with its name; None when it can.

    Args:
        backend: a row that can be chosen.
        compute: the device and number format of the run.
    """
    if compute.use_cpu and not backend.on_cpu:
        return "needs a CUDA device to train, and there is none"
    if backend.library is not None and not _INSTALLED[backend.library]():
        return f"needs {backend.library}, which is not installed"
    if backend.attn_needs_dtype_cast and not (compute.bf16 or compute.fp16):
        return f"computes in {' or '.join(backend.dtypes)}, and this run computes in float32 (`bf16`)"
    return None
