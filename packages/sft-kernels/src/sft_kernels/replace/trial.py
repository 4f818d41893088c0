"""Whether the kernels of an op give on a device what its reference gives there."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from torch import Tensor

from sft_kernels.ops.glu import geglu, swiglu, swiglu_packed
from sft_kernels.ops.layer_norm import layer_norm
from sft_kernels.ops.qk_norm_rope import qk_norm_rope
from sft_kernels.ops.rms_norm import rms_norm
from sft_kernels.ops.rope import apply_rotary_pos_emb
from sft_kernels.replace.plan import agree, random

__all__ = ["trial"]

Call = Callable[..., Any]


@cache
def trial(op: str, device: str) -> str | None:
    """Runs the op there on small inputs, gradients included; says what is wrong, or None.

    It costs a few launches and the compilation of these kernels, once per process.
    """
    for call, shapes in _calls(device)[op]:
        inputs = [
            random(*shape, seed=seed).detach().to(device).requires_grad_() for seed, shape in enumerate(shapes, start=1)
        ]
        try:
            same = agree(call, partial(call, backend="reference"), inputs)
        except (RuntimeError, ValueError, OSError, ImportError) as error:  # no compiler for triton's launcher, say
            return f"its kernels do not run on {device}: {error}"
        if not same:
            return f"its kernels do not give on {device} what the same formula in PyTorch gives"
    return None


def _calls(device: str) -> dict[str, list[tuple[Call, list[tuple[int, ...]]]]]:
    """Calls with the shapes of their inputs, by op."""
    angles = [random(2, 9, 64, seed=seed).detach().to(device) for seed in (7, 8)]
    heads: list[tuple[int, ...]] = [(2, 4, 9, 64), (2, 2, 9, 64)]

    def rotated(q: Tensor, k: Tensor, **how: Any) -> tuple[Tensor, Tensor]:
        return apply_rotary_pos_emb(q, k, angles[0], angles[1], **how)

    def normed(q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor, **how: Any) -> tuple[Tensor, Tensor]:
        return qk_norm_rope(q, k, q_weight, k_weight, angles[0], angles[1], **how)

    return {
        "qk_norm_rope": [(normed, [*heads, (64,), (64,)])],
        "rope": [(rotated, heads)],
        "rms_norm": [(rms_norm, [(33, 200), (200,)]), (partial(rms_norm, casting="gemma"), [(3, 4096), (4096,)])],
        "layer_norm": [(layer_norm, [(33, 200), (200,), (200,)])],
        "glu": [
            (swiglu, [(33, 1100), (33, 1100)]),
            (geglu, [(9, 200), (9, 200)]),
            (partial(geglu, approximate="none"), [(9, 200), (9, 200)]),
            (swiglu_packed, [(9, 200)]),
            (partial(swiglu_packed, interleaved=True, limit=1.0, alpha=1.7, up_offset=1.0), [(9, 200)]),
        ],
    }
