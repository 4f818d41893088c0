"""Gated activations in triton and in the reference, against formulas of modeling code."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from sft_kernels import geglu, swiglu, swiglu_packed
from sft_kernels.testing import check_op, check_registration
from sft_kernels.testing.inputs import random, sizes

BACKENDS = ("triton", "reference")
CLAMPED = {"limit": 0.9, "alpha": 1.702, "up_offset": 1.0}


def plain(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up


def clamped(gate: Tensor, up: Tensor, *, limit: float, alpha: float, up_offset: float) -> Tensor:
    """As GPT-OSS's experts have it."""
    gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    return (up + up_offset) * (gate * torch.sigmoid(gate * alpha))


def packed(gate_up: Tensor, *, interleaved: bool, **how: float) -> Tensor:
    gate, up = (gate_up[..., ::2], gate_up[..., 1::2]) if interleaved else gate_up.chunk(2, -1)
    return clamped(gate, up, **how) if how else plain(gate, up)


def pair(*shape: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [random(*shape, dtype=dtype, seed=1), random(*shape, dtype=dtype, seed=2)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_results_and_gradients_are_as_accurate_as_plain_pytorch(dtype: torch.dtype, backend: str) -> None:
    inputs = pair(9, 63, dtype=dtype)
    check_op(partial(swiglu, backend=backend), plain, inputs)
    check_op(partial(swiglu, backend=backend, **CLAMPED), partial(clamped, **CLAMPED), inputs)
    check_op(
        partial(swiglu, gate_multiplier=0.5, backend=backend),
        lambda gate, up: F.silu(gate * 0.5) * up,
        inputs,
        factor=3,
    )
    for approximate in ("tanh", "none"):
        check_op(
            partial(geglu, approximate=approximate, backend=backend),
            lambda gate, up, kind=approximate: F.gelu(gate, approximate=kind) * up,
            inputs,
            factor=4,
        )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("how", [{}, CLAMPED], ids=["silu", "clamped"])
def test_gate_and_up_in_one_tensor(how: dict, interleaved: bool, backend: str) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        check_op(
            partial(swiglu_packed, interleaved=interleaved, backend=backend, **how),
            partial(packed, interleaved=interleaved, **how),
            [random(2, 17, 66, dtype=dtype)],
        )


@pytest.mark.parametrize("shape", [(1, 1), (65, 130), (200, 7), (0, 8), (7,), (2, 3, 5, 16), (2, 3000)], ids=str)
def test_any_number_of_rows_and_any_width(shape: tuple[int, ...]) -> None:
    # of a few numbers the largest error is one draw, for plain PyTorch and for the kernel
    check_op(partial(swiglu, backend="triton"), plain, pair(*shape, dtype=torch.bfloat16), factor=3)
    both = random(*shape[:-1], 2 * shape[-1])
    check_op(partial(swiglu_packed, backend="triton"), partial(packed, interleaved=False), [both], factor=3)


@settings(max_examples=3, deadline=None, derandomize=True)
@given(sizes(40), sizes(200), st.sampled_from([torch.float32, torch.bfloat16]))
def test_sizes_around_powers_of_two(rows: int, columns: int, dtype: torch.dtype) -> None:
    reference = lambda gate, up: F.gelu(gate, approximate="tanh") * up  # noqa: E731
    check_op(partial(geglu, backend="triton"), reference, pair(rows, columns, dtype=dtype), factor=4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_not_a_number_is_not_cut_off(backend: str) -> None:
    nan = torch.full((1, 4), float("nan"), device=random(1).device)
    assert swiglu(nan, nan, limit=1.0, backend=backend).isnan().all()
    assert swiglu(torch.ones_like(nan), nan, limit=1.0, backend=backend).isnan().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_values_neither_overflow_nor_lose_their_gradient(backend: str) -> None:
    gate = torch.tensor([[-1e4, -100.0, 100.0, 1e4]], device=random(1).device)
    for op in (swiglu, geglu, partial(geglu, approximate="none")):
        x = gate.clone().requires_grad_()
        y = op(x, torch.ones_like(x), backend=backend)
        (slope,) = torch.autograd.grad(y.sum(), x)
        assert torch.allclose(y, gate.clamp(min=0), atol=1e-6)
        assert torch.allclose(slope, (gate > 0).float(), atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_torch_knows_the_op(backend: str) -> None:
    check_registration(partial(swiglu, backend=backend, **CLAMPED), pair(2, 3))
    check_registration(partial(swiglu_packed, interleaved=True, backend=backend), [random(2, 4)])
    if backend == "triton":
        check_registration(partial(geglu, approximate="none", backend=backend), pair(2, 3))


def test_autocast_changes_nothing() -> None:
    inputs = pair(5, 33)
    with torch.autocast(inputs[0].device.type, dtype=torch.bfloat16):
        cast = swiglu(*inputs, backend="triton")
    assert cast.dtype == torch.float32
    assert torch.equal(cast, swiglu(*inputs, backend="triton"))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"up is torch.float32 \[2, 5\]"):
        swiglu(torch.ones(2, 4), torch.ones(2, 5))
    with pytest.raises(ValueError, match=r"up is torch\.float16"):
        geglu(torch.ones(2, 4), torch.ones(2, 4).half())
    with pytest.raises(ValueError, match="last dimension has to be even"):
        swiglu_packed(torch.ones(2, 5))
    with pytest.raises(ValueError, match="limit is -1"):
        swiglu(torch.ones(2, 4), torch.ones(2, 4), limit=-1)
    with pytest.raises(ValueError, match="approximate is 'sigmoid'"):
        geglu(torch.ones(2, 4), torch.ones(2, 4), "sigmoid")  # type: ignore[arg-type]
