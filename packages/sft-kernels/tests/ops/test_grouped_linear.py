"""Linear layers of experts against a loop over experts in plain PyTorch."""

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sft_kernels import implementations
from sft_kernels.ops.grouped_linear import grouped_linear
from sft_kernels.ops.grouped_linear.triton import tiles
from sft_kernels.testing import check_op, check_registration
from sft_kernels.testing.inputs import random

BACKENDS = ("torch", "triton", "reference")
COUNTS = [[63], [0, 65, 0, 1], [33, 32, 0, 7], [0, 0]]


def offsets_of(counts: list[int]) -> Tensor:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.tensor([sum(counts[:i]) for i in range(len(counts) + 1)], dtype=torch.int32, device=device)


def skip_if_it_cannot_run(backend: str, x: Tensor, weight: Tensor) -> None:
    reason = implementations("grouped_linear", x, weight)[backend]
    if reason is not None:
        pytest.skip(reason)


def formula(x: Tensor, weight: Tensor, a: Any, b: Any, bias: Any, *, counts: list[int]) -> Tensor:
    parts = []
    for expert, rows in enumerate(x.split(counts)):
        y = rows @ weight[expert].T
        if a is not None:
            y = y + 0.5 * ((rows @ a[expert].T) @ b[expert].T)
        parts.append(y if bias is None else y + bias[expert])
    return torch.cat(parts)


def fused(x: Tensor, weight: Tensor, a: Any, b: Any, bias: Any, *, counts: list[int], backend: str) -> Tensor:
    return grouped_linear(x, weight, offsets_of(counts), a=a, b=b, scaling=0.5, bias=bias, backend=backend)


def arguments(counts: list[int], n: int, k: int, dtype: torch.dtype, r: int = 8) -> list[Tensor]:
    experts = len(counts)
    shapes = ((sum(counts), k), (experts, n, k), (experts, r, k), (experts, n, r), (experts, n))
    return [random(*shape, dtype=dtype, seed=i) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_results_and_gradients_are_as_accurate_as_plain_pytorch(
    dtype: torch.dtype, counts: list[int], backend: str
) -> None:
    bound = partial(fused, counts=counts, backend=backend), partial(formula, counts=counts)
    inputs = arguments(counts, 40, 72, dtype)
    skip_if_it_cannot_run(backend, *inputs[:2])
    check_op(*bound, inputs if counts == COUNTS[2] else [*inputs[:2], None, None, None], factor=3.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_odd_widths_and_frozen_weights(dtype: torch.dtype) -> None:
    counts = [5, 0, 30]
    for n, k in ((1, 1), (63, 65), (130, 7)):
        inputs = [*arguments(counts, n, k, dtype)[:2], None, None, None]
        inputs[1] = inputs[1] if n == 1 else inputs[1].detach()
        check_op(partial(fused, counts=counts, backend="triton"), partial(formula, counts=counts), inputs, factor=3.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=9), st.sampled_from([1, 8, 16]))
def test_every_token_is_in_one_tile_of_its_expert(counts: list[int], size: int) -> None:
    offsets = offsets_of(counts)
    covered: list[tuple[int, int]] = []
    for expert, start in tiles(offsets, sum(counts), size).tolist():
        if expert >= 0:
            end = min(start + size, int(offsets[expert + 1]))
            assert int(offsets[expert]) <= start < end
            covered += [(row, expert) for row in range(start, end)]
    assert covered == [(row, e) for e in range(len(counts)) for row in range(int(offsets[e]), int(offsets[e + 1]))]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_experts_tokens_do_not_change_with_those_of_others(backend: str) -> None:
    x, weight = random(70, 24, grad=False), random(3, 16, 24, seed=1, grad=False)
    skip_if_it_cannot_run(backend, x, weight)
    together = grouped_linear(x, weight, offsets_of([30, 0, 40]), backend=backend)
    alone = grouped_linear(x[30:], weight, offsets_of([0, 0, 40]), backend=backend)
    assert torch.equal(together[30:], alone)


def test_torch_knows_the_reference() -> None:
    inputs = arguments([1, 0, 2], 2, 2, torch.float32, 1)
    check_registration(partial(fused, counts=[1, 0, 2], backend="reference"), inputs)


def test_autocast_casts_as_linear_does() -> None:
    x, weight, *_ = arguments([3, 2], 8, 16, torch.float32)
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        y = grouped_linear(x, weight, offsets_of([3, 2]))
    assert torch.equal(y, grouped_linear(x.bfloat16(), weight.bfloat16(), offsets_of([3, 2])))
    assert torch.autograd.grad(y.sum(), weight)[0].dtype == torch.float32


def test_what_does_not_fit_is_refused() -> None:
    x, weight, a, b, _ = arguments([3, 2], 8, 16, torch.float32)
    offsets = offsets_of([3, 2])
    with pytest.raises(ValueError, match=r"they have to be \[T, K\] and \[E, N, K\] of one dtype"):
        grouped_linear(x, weight.bfloat16(), offsets)
    with pytest.raises(ValueError, match=r"offsets is torch.int32 \[2\]; it has to be int32 \[3\]"):
        grouped_linear(x, weight, offsets[1:])
    with pytest.raises(ValueError, match="one of a and b is None"):
        grouped_linear(x, weight, offsets, a=a)
    with pytest.raises(ValueError, match=r"they have to be \[2, r, 16\] and \[2, 8, r\]"):
        grouped_linear(x, weight, offsets, a=b, b=a)
    if not torch.cuda.is_available():  # there the device asserts it, and that ends the process
        with pytest.raises(RuntimeError, match="offsets do not end at the number of tokens"):
            grouped_linear(x, weight, offsets_of([3, 3]))
        assert implementations("grouped_linear", x.double(), weight)["torch"] == "x is torch.float64 on 'cpu'"
