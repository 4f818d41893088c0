"""Every op of this package on small inputs, and the same in plain PyTorch: what tests of all ops go through.

A case makes its inputs for a number of tokens and a dtype. Its function takes them and ``backend=``, its formula takes
them alone, in any floating-point dtype.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

import sft_kernels
from sft_kernels.ops.lora_linear import Projection
from sft_kernels.testing.inputs import random

__all__ = ["CASES", "Case", "lengths_of", "segments"]

EPS, SCALING, IGNORED = 1e-6, 0.5, -100
LOSS: dict[str, Any] = {"reduction": "none", "label_smoothing": 0.1, "z_loss": 1e-2}
PLAIN, BY_TORCH = ("triton", "reference"), ("triton", "torch", "reference")


class Case(NamedTuple):
    """An op and one way to call it."""

    op: str
    """Its name in `sft_kernels.dispatch`."""
    function: Callable[..., Any]
    formula: Callable[..., Any]
    make: Callable[[int, torch.dtype], list[Any]]
    """Takes the number of tokens and a dtype."""
    backends: tuple[str, ...] = PLAIN
    products: bool = False
    """As in `check_op`."""
    segmented: bool = False
    """Whether an input is boundaries of documents, or of experts: the last."""


def segments(lengths: Sequence[int]) -> Tensor:
    """Boundaries on the device that inputs are made on."""
    return sft_kernels.cu_seqlens_from_lengths(list(lengths), device=random(1, grad=False).device)


def lengths_of(cu_seqlens: Tensor) -> list[int]:
    """Lengths, read on the host."""
    return [end - start for start, end in pairwise(cu_seqlens.tolist())]


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _rms(x: Tensor, weight: Tensor) -> Tensor:
    return weight * (_wide(x) * torch.rsqrt(_wide(x).pow(2).mean(-1, keepdim=True) + EPS)).to(x.dtype)


def _rms_of_gemma(x: Tensor, weight: Tensor) -> Tensor:
    normalised = _wide(x) * torch.rsqrt(_wide(x).pow(2).mean(-1, keepdim=True) + EPS)
    return (normalised * (1 + _wide(weight))).to(x.dtype)


def _add_rms(x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return _rms(x + residual, weight), x + residual


def _layer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.layer_norm(_wide(x), x.shape[-1:], _wide(weight), _wide(bias), EPS).to(x.dtype)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos[:, None] + torch.cat((-second, first), -1) * sin[:, None]


def _rope(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    return _rotated(q, cos, sin), _rotated(k, cos, sin)


def _looked_up(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    return _rope(q, k, *(torch.cat((each, each), -1)[positions] for each in (cos, sin)))


def _qk_norm_rope(q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor, cos: Tensor, sin: Tensor) -> Any:
    return _rope(_rms(q, q_weight), _rms(k, k_weight), cos, sin)


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    z = _wide(logits)
    lse = z.logsumexp(1)
    nll = lse - z.gather(1, target.clamp(min=0)[:, None])[:, 0]
    smoothed = 0.9 * nll + 0.1 * (lse - z.mean(1))
    return (smoothed + 1e-2 * lse.square()) * (target != IGNORED)


def _head(hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    return _cross_entropy(hidden @ weight.T, target)


def _head_op(hidden: Tensor, weight: Tensor, target: Tensor, *, backend: str) -> Any:
    tokens = target.shape[0]
    return sft_kernels.linear_cross_entropy(
        hidden, weight, target, n_valid=tokens - tokens // 4, backend=backend, **LOSS
    )


def _lora(x: Tensor, weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return x @ weight.T + (x @ a.T) @ b.T * SCALING


def _lora_mlp(x: Tensor, *parts: Tensor) -> Tensor:
    return _lora(functional.silu(_lora(x, *parts[:3])) * _lora(x, *parts[3:6]), *parts[6:])


def _lora_mlp_op(x: Tensor, *parts: Tensor, backend: str) -> Tensor:
    layers = [Projection(*parts[i : i + 3], scaling=SCALING) for i in (0, 3, 6)]
    return sft_kernels.lora_mlp(x, *layers, backend=backend)


def _lora_op(*inputs: Tensor, backend: str) -> Tensor:
    return sft_kernels.lora_linear(*inputs, scaling=SCALING, backend=backend)


def _nf4(packed: Tensor, absmax: Tensor) -> Tensor:
    code = torch.tensor(sft_kernels.NF4_CODE, dtype=torch.float32, device=packed.device).to(absmax.dtype)
    indices = torch.stack((packed >> 4, packed & 15), -1).flatten().int()
    return (code[indices].view(-1, 64) * absmax[:, None]).flatten()


def _nf4_op(packed: Tensor, absmax: Tensor, *, backend: str) -> Tensor:
    scales = absmax.float().contiguous()
    return sft_kernels.dequantize_nf4(packed, scales, None, (2 * packed.numel(),), absmax.dtype, backend=backend)


def _experts(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    parts = x.split(lengths_of(offsets))
    return torch.cat([rows @ weight[expert].T for expert, rows in enumerate(parts)])


def _attention(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor, cu_seqlens: Tensor) -> tuple[Tensor, Tensor]:
    """Causal, with a sink, and one head of keys for all of queries; the lse too."""
    scores = _wide(torch.einsum("qhd,kd->hqk", q, k[:, 0]) * q.shape[-1] ** -0.5)
    lengths = torch.tensor(lengths_of(cu_seqlens), device=q.device)
    document = torch.arange(len(lengths), device=q.device).repeat_interleave(lengths)
    seen = (document[:, None] == document[None]).tril()
    scores = scores.masked_fill(~seen, float("-inf"))
    lse = torch.logaddexp(scores.logsumexp(-1), _wide(sinks)[:, None])
    weights = torch.exp(scores - lse[..., None]).to(v.dtype)
    return torch.einsum("hqk,kd->qhd", weights, v[:, 0]), lse


def _attention_op(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor, cu_seqlens: Tensor, *, backend: str) -> Any:
    longest = q.shape[0]  # an upper bound
    return sft_kernels.flash_attn_varlen_func(
        q, k, v, cu_seqlens, cu_seqlens, longest, longest, causal=True, sinks=sinks, return_lse=True, backend=backend
    )


def _rows(*widths: int, tokens: int, dtype: torch.dtype) -> list[Any]:
    return [random(tokens, width, dtype=dtype, seed=seed) for seed, width in enumerate(widths)]


def _norm_inputs(rows: int, weights: int, tokens: int, dtype: torch.dtype) -> list[Any]:
    parameters = [random(8, dtype=dtype, seed=5 + seed) for seed in range(weights)]
    return [*_rows(*[8] * rows, tokens=tokens, dtype=dtype), *parameters]


def _rope_inputs(weights: int, tokens: int, dtype: torch.dtype, table: bool = False) -> list[Any]:
    """Packed queries and keys, weights of norms, and angles of each token, or of each position."""
    q, k = (random(tokens, heads, 8, dtype=dtype, seed=heads) for heads in (2, 1))
    at = random(tokens, 4, seed=9, grad=False) * 3
    angles = [each.to(dtype) for each in (at.cos(), at.sin())]
    if table:
        return [q, k, *angles, torch.arange(tokens, device=q.device).flip(0)]
    parameters = [random(8, dtype=dtype, seed=5 + seed) for seed in range(weights)]
    return [q, k, *parameters, *(torch.cat((each, each), -1) for each in angles)]


def _targets(tokens: int, vocabulary: int) -> Tensor:
    """Of four tokens the last has none."""
    place = torch.arange(tokens, device=random(1, grad=False).device)
    return (place * 7 % vocabulary).where(place % 4 != 3, IGNORED)


def _loss_inputs(tokens: int, dtype: torch.dtype) -> list[Any]:
    return [random(tokens, 10, dtype=dtype), _targets(tokens, 10)]


def _head_inputs(tokens: int, dtype: torch.dtype) -> list[Any]:
    return [random(tokens, 8, dtype=dtype), random(10, 8, dtype=dtype, seed=1), _targets(tokens, 10)]


def _layers(*shapes: tuple[int, int], dtype: torch.dtype) -> list[Any]:
    """Frozen weight, A and B of each."""
    return [
        random(*shape, dtype=dtype, seed=3 * i + j, grad=j > 0)
        for i, (n, k) in enumerate(shapes, 1)
        for j, shape in enumerate([(n, k), (2, k), (n, 2)])
    ]


def _lora_inputs(*shapes: tuple[int, int], tokens: int, dtype: torch.dtype) -> list[Any]:
    return [random(tokens, shapes[0][1], dtype=dtype), *_layers(*shapes, dtype=dtype)]


def _nf4_inputs(tokens: int, dtype: torch.dtype) -> list[Any]:
    """A row of 64 elements a token."""
    scales = random(tokens, dtype=dtype, grad=False)
    return [torch.arange(32 * tokens, device=scales.device).mul(37).to(torch.uint8), scales]


def _expert_inputs(tokens: int, dtype: torch.dtype, lengths: Sequence[int] | None = None) -> list[Any]:
    lengths = [tokens // 3, 0, tokens - tokens // 3] if lengths is None else lengths
    return [*_rows(8, tokens=tokens, dtype=dtype), random(len(lengths), 4, 8, dtype=dtype, seed=2), segments(lengths)]


def _attention_inputs(tokens: int, dtype: torch.dtype, lengths: Sequence[int] | None = None) -> list[Any]:
    lengths = [tokens // 3, 0, tokens - tokens // 3] if lengths is None else lengths
    heads = 2 if len(lengths) < 100 else 1  # the interpreter takes milliseconds for each head of each document
    tensors = [random(tokens, n, 8, dtype=dtype, seed=seed) for seed, n in enumerate((heads, 1, 1))]
    return [*tensors, random(heads, dtype=dtype, seed=7), segments(lengths)]


CASES: dict[str, Case] = {
    "rms_norm": Case("rms_norm", partial(sft_kernels.rms_norm, eps=EPS), _rms, partial(_norm_inputs, 1, 1)),
    "rms_norm of Gemma": Case(
        "rms_norm", partial(sft_kernels.rms_norm, eps=EPS, offset=1.0, casting="gemma"), _rms_of_gemma,
        partial(_norm_inputs, 1, 1),
    ),
    "add_rms_norm": Case("rms_norm", partial(sft_kernels.add_rms_norm, eps=EPS), _add_rms, partial(_norm_inputs, 2, 1)),
    "layer_norm": Case("layer_norm", partial(sft_kernels.layer_norm, eps=EPS), _layer, partial(_norm_inputs, 1, 2)),
    "apply_rotary_pos_emb": Case("rope", sft_kernels.apply_rotary_pos_emb, _rope, partial(_rope_inputs, 0)),
    "rope_cached": Case("rope", sft_kernels.rope_cached, _looked_up, partial(_rope_inputs, 0, table=True)),
    "qk_norm_rope": Case("qk_norm_rope", sft_kernels.qk_norm_rope, _qk_norm_rope, partial(_rope_inputs, 2)),
    "swiglu": Case("glu", sft_kernels.swiglu, lambda x, y: functional.silu(x) * y, partial(_norm_inputs, 2, 0)),
    "swiglu_packed": Case(
        "glu", sft_kernels.swiglu_packed, lambda x: functional.silu(x[..., :4]) * x[..., 4:],
        partial(_norm_inputs, 1, 0),
    ),
    "geglu": Case(
        "glu", sft_kernels.geglu, lambda x, y: functional.gelu(x, approximate="tanh") * y, partial(_norm_inputs, 2, 0)
    ),
    "cross_entropy": Case(
        "cross_entropy", partial(sft_kernels.cross_entropy, **LOSS), _cross_entropy, _loss_inputs
    ),
    "linear_cross_entropy": Case(
        "linear_cross_entropy", _head_op, _head, _head_inputs, BY_TORCH, True
    ),
    "lora_linear": Case(
        "lora_linear", _lora_op, _lora, lambda tokens, dtype: _lora_inputs((6, 8), tokens=tokens, dtype=dtype),
        products=True,
    ),
    "lora_mlp": Case(
        "lora_mlp", _lora_mlp_op, _lora_mlp,
        lambda tokens, dtype: _lora_inputs((6, 8), (6, 8), (8, 6), tokens=tokens, dtype=dtype), products=True,
    ),
    "dequantize_nf4": Case("dequantize", _nf4_op, _nf4, _nf4_inputs),
    "grouped_linear": Case(
        "grouped_linear", sft_kernels.grouped_linear, _experts, _expert_inputs, BY_TORCH, True, True
    ),
    "varlen_attention": Case("varlen_attention", _attention_op, _attention, _attention_inputs, segmented=True),
}  # fmt: skip
"""By the name of the function, or of the way to call it."""
