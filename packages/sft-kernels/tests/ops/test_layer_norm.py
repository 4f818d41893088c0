"""LayerNorm in triton and in the reference, against torch's own."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from sft_kernels import layer_norm
from sft_kernels.ops.layer_norm import triton as kernels
from sft_kernels.testing import check_op, check_registration
from sft_kernels.testing.inputs import random, sizes

BACKENDS = ("triton", "reference")


def formula(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """torch's, with float32 inside whatever the dtypes are."""
    if x.dtype == torch.float64:
        return F.layer_norm(x, x.shape[-1:], weight, bias)
    wide = [None if each is None else each.float() for each in (weight, bias)]
    return F.layer_norm(x.float(), x.shape[-1:], *wide).to(x.dtype)


def inputs(rows: int, columns: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    ends = [random(columns, dtype=dtype, seed=seed) for seed in (1, 2)]
    return [random(rows, columns, dtype=dtype), *ends]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_results_and_gradients_are_as_accurate_as_plain_pytorch(dtype: torch.dtype, backend: str) -> None:
    check_op(partial(layer_norm, backend=backend), formula, inputs(65, 63, dtype))
    check_op(partial(layer_norm, backend=backend), formula, inputs(65, 63, dtype)[:2])
    check_op(partial(layer_norm, backend=backend), formula, inputs(65, 63, dtype)[:1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_dtypes_may_differ_and_weights_may_be_frozen(backend: str) -> None:
    x, weight, bias = random(9, 33, dtype=torch.bfloat16), random(33, seed=1), random(33, dtype=torch.float16, seed=2)
    for chosen in ([x, weight, bias], [x, weight.detach(), bias], [x, weight, bias.detach()], [x, None, bias]):
        check_op(partial(layer_norm, backend=backend), formula, chosen)


@pytest.mark.parametrize("shape", [(1, 2), (65, 130), (200, 7), (0, 8), (2, 5000)], ids=str)
def test_any_number_of_rows_and_any_width(shape: tuple[int, int]) -> None:
    check_op(partial(layer_norm, backend="triton"), formula, inputs(*shape), factor=3)


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    x = (random(9, 64, grad=False) + 1000).requires_grad_()
    check_op(partial(layer_norm, backend="triton"), formula, [x, *inputs(9, 64)[1:]])


@settings(max_examples=3, deadline=None, derandomize=True)
@given(sizes(70), sizes(300).filter(lambda size: size > 2), st.sampled_from([torch.float32, torch.bfloat16]))
def test_sizes_around_powers_of_two(rows: int, columns: int, dtype: torch.dtype) -> None:
    check_op(partial(layer_norm, backend="triton"), formula, inputs(rows, columns, dtype), factor=3.0)


def test_weights_gradients_are_summed_over_all_rows_of_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "PROGRAMS", 3)
    check_op(partial(layer_norm, backend="triton"), formula, inputs(200, 65))


def test_torch_knows_the_reference() -> None:
    check_registration(partial(layer_norm, backend="reference"), inputs(2, 3))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"bias is \[5\] on cpu and x \[2, 4\]"):
        layer_norm(torch.ones(2, 4), torch.ones(4), torch.ones(5))
    with pytest.raises(ValueError, match="N at least 1"):
        layer_norm(torch.ones(2, 0))
