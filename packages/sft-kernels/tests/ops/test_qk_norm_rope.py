"""Norms of heads and rotary embeddings in one pass, against the two after one another."""

from functools import partial

import pytest
import torch
from torch import Tensor

from sft_kernels import qk_norm_rope
from sft_kernels.ops.qk_norm_rope import triton as kernels
from sft_kernels.testing import check_op, check_registration
from sft_kernels.testing.inputs import random

BACKENDS = ("triton", "reference")
Inputs = list[Tensor]


def formula(
    q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor, cos: Tensor, sin: Tensor, *, offset: float = 0.0
) -> tuple[Tensor, ...]:
    """As Qwen3's and Gemma 3's attention have it: norms in float32, the rotation in the dtype of the queries."""
    cos, sin = cos.unsqueeze(1).to(q.dtype), sin.unsqueeze(1).to(q.dtype)
    width = cos.shape[-1]
    results: list[Tensor] = []
    for x, weight in ((q, q_weight), (k, k_weight)):
        wide = x if x.dtype == torch.float64 else x.float()
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6) * (offset + weight.to(wide.dtype))
        y = normed.to(x.dtype)
        a, b = y[..., :width].chunk(2, -1)
        results.append(torch.cat((y[..., :width] * cos + torch.cat((-b, a), -1) * sin, y[..., width:]), -1))
    return tuple(results)


def inputs(tokens: int, heads: tuple[int, int], columns: int, pairs: int, dtype: torch.dtype = torch.float32) -> Inputs:
    at = random(2, tokens, pairs, seed=9, grad=False) * 3
    tensors = [random(2, n, tokens, columns, dtype=dtype, seed=seed) for seed, n in enumerate(heads)]
    weights = [random(columns, dtype=dtype, seed=seed) for seed in (5, 6)]
    return [*tensors, *weights, *(torch.cat((each, each), -1).to(dtype) for each in (at.cos(), at.sin()))]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("columns", "pairs", "offset", "dtype"),
    [(32, 16, 0.0, torch.bfloat16), (24, 5, 1.0, torch.float32), (8, 4, 1.0, torch.float16)],
    ids=["qwen3", "part", "gemma3"],
)
def test_results_and_gradients_are_as_accurate_as_plain_pytorch(
    columns: int, pairs: int, offset: float, dtype: torch.dtype, backend: str
) -> None:
    op = partial(qk_norm_rope, offset=offset, backend=backend)
    check_op(op, partial(formula, offset=offset), inputs(2, (3, 2), columns, pairs, dtype))


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_sizes_positions_and_layouts(backend: str) -> None:
    op = partial(qk_norm_rope, backend=backend)
    for tokens, heads, columns in ((1, (1, 1), 2), (2, (5, 1), 14), (1, (2, 2), 130)):
        check_op(op, formula, inputs(tokens, heads, columns, columns // 2), factor=3)
    q, k, q_weight, k_weight, cos, sin = inputs(3, (2, 1), 8, 4)
    right = op(q, k, q_weight, k_weight, cos, sin)
    by_token = [each.detach().transpose(1, 2).contiguous() for each in (q, k)]
    same = op(*by_token, q_weight, k_weight, cos, sin, unsqueeze_dim=2)
    positions = torch.arange(6, device=q.device).view(2, 3)
    table = (cos.flatten(0, 1)[:, :4], sin.flatten(0, 1)[:, :4])
    looked_up = op(q, k, q_weight, k_weight, *table, position_ids=positions)
    for i, expected in enumerate(right):
        assert torch.equal(same[i].transpose(1, 2), expected)
        assert torch.equal(looked_up[i], expected)


def test_several_heads_and_tokens_of_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "PROGRAMS", 2)
    monkeypatch.setattr(kernels, "ELEMENTS", 32)  # two heads of sixteen pairs at once
    check_op(partial(qk_norm_rope, backend="triton"), formula, inputs(2, (5, 3), 32, 16))


def test_weights_may_be_frozen() -> None:
    q, k, q_weight, k_weight, *table = inputs(2, (2, 1), 8, 4)
    for chosen in ([q_weight.detach(), k_weight], [q_weight.detach(), k_weight.detach()]):
        check_op(partial(qk_norm_rope, backend="triton"), formula, [q, k, *chosen, *table])


def test_torch_knows_the_reference() -> None:
    check_registration(partial(qk_norm_rope, backend="reference"), inputs(1, (2, 1), 4, 2))


def test_what_does_not_fit_is_refused() -> None:
    q, k, q_weight, k_weight, *table = inputs(2, (2, 1), 6, 3)
    with pytest.raises(ValueError, match=r"k_weight is torch.float32 \[5\]"):
        qk_norm_rope(q, k, q_weight, k_weight[:5], *table)
