"""RMSNorm alone and with the residual, in triton and in the reference, against formulas of modeling code."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sft_kernels import add_rms_norm, rms_norm, use_backend
from sft_kernels.ops.rms_norm import reference
from sft_kernels.ops.rms_norm import triton as kernels
from sft_kernels.testing import check_op, check_registration
from sft_kernels.testing.inputs import random, sizes

EPS = 1e-5
BACKENDS = ("triton", "reference")
CASTINGS = (("llama", 0.0), ("gemma", 1.0), ("none", 0.0), ("llama", 0.5))


def wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def formula(x: Tensor, weight: Tensor | None, *, casting: str, offset: float) -> Tensor:
    """As Llama's and Gemma's modules write it, and as one writes it without thinking of dtypes."""
    if casting == "none":
        normalised = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS)
        return normalised if weight is None else normalised * (weight + offset)
    normalised = wide(x) * torch.rsqrt(wide(x).pow(2).mean(-1, keepdim=True) + EPS)
    if casting == "gemma":
        return (normalised if weight is None else normalised * (offset + wide(weight))).to(x.dtype)
    normalised = normalised.to(x.dtype)
    return normalised if weight is None else (weight + offset) * normalised


def added(x: Tensor, residual: Tensor, weight: Tensor | None, **settings: object) -> tuple[Tensor, Tensor]:
    total = x + residual
    return formula(total, weight, **settings), total


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("casting", "offset"), CASTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_results_and_gradients_are_as_accurate_as_plain_pytorch(
    dtype: torch.dtype, casting: str, offset: float, backend: str
) -> None:
    bound = {"casting": casting, "offset": offset}
    inputs = [random(65, 63, dtype=dtype, seed=1), random(63, dtype=dtype, seed=2)]
    if dtype == torch.float32:
        check_op(partial(rms_norm, eps=EPS, backend=backend, **bound), partial(formula, **bound), inputs)
    else:
        inputs.insert(1, random(65, 63, dtype=dtype, seed=3))
        check_op(partial(add_rms_norm, eps=EPS, backend=backend, **bound), partial(added, **bound), inputs)


@pytest.mark.parametrize("shape", [(1, 1), (63, 130), (1000, 7), (0, 8), (2, 3, 5, 16), (7,), (2, 5000)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_any_number_of_rows_and_any_width(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    inputs = [random(*shape, dtype=dtype), random(*shape, dtype=dtype, seed=1), random(shape[-1], dtype=dtype, seed=2)]
    op = partial(add_rms_norm, eps=EPS, backend="triton")
    check_op(op, partial(added, casting="llama", offset=0.0), inputs)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(sizes(70), sizes(300).filter(lambda size: size > 1), st.sampled_from([torch.float32, torch.bfloat16]))
def test_sizes_around_powers_of_two(rows: int, columns: int, dtype: torch.dtype) -> None:
    inputs = [random(rows, columns, dtype=dtype), random(columns, dtype=dtype, seed=1)]
    op = partial(rms_norm, eps=EPS, casting="gemma", offset=1.0, backend="triton")
    # of a single row the largest error is one draw, for plain PyTorch and for the kernel
    check_op(op, partial(formula, casting="gemma", offset=1.0), inputs, factor=3.0)


@pytest.mark.parametrize("programs", [1, 3])
def test_the_weights_gradient_is_summed_over_all_rows_of_a_program(
    programs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "PROGRAMS", programs)
    inputs = [random(300, 65), random(65, seed=1)]
    check_op(partial(rms_norm, eps=EPS, backend="triton"), partial(formula, casting="llama", offset=0.0), inputs)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("x", "residual", "weight"),
    [
        (torch.bfloat16, torch.float32, torch.bfloat16),
        (torch.bfloat16, torch.bfloat16, torch.float32),
        (torch.float32, torch.bfloat16, torch.float16),
    ],
    ids=str,
)
def test_dtypes_may_differ(x: torch.dtype, residual: torch.dtype, weight: torch.dtype, backend: str) -> None:
    inputs = [random(9, 33, dtype=x), random(9, 33, dtype=residual, seed=1), random(33, dtype=weight, seed=2)]
    for casting, offset in CASTINGS[:2]:
        bound = {"casting": casting, "offset": offset}
        check_op(partial(add_rms_norm, eps=EPS, backend=backend, **bound), partial(added, **bound), inputs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_weight_and_frozen_weights(backend: str) -> None:
    x, residual, frozen = random(5, 33), random(5, 33, seed=1, grad=False), random(33, seed=2, grad=False)
    for weight in (None, frozen):
        check_op(
            partial(add_rms_norm, eps=EPS, backend=backend),
            partial(added, casting="llama", offset=0.0),
            [x, residual, weight],
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_output_may_be_used_alone(backend: str) -> None:
    x, residual, weight = random(5, 33), random(5, 33, seed=1), random(33, seed=2)
    for used in (0, 1):
        check_op(
            lambda *inputs, used=used: add_rms_norm(*inputs, eps=EPS, backend=backend)[used],
            lambda *inputs, used=used: added(*inputs, casting="llama", offset=0.0)[used],
            [x, residual, weight],
        )


@pytest.mark.parametrize("casting", ["llama", "gemma"])
def test_the_reference_has_the_bits_of_modeling_code(casting: str) -> None:
    x, weight = random(200, 64, dtype=torch.bfloat16, grad=False), random(64, dtype=torch.bfloat16, grad=False)
    expected = formula(x, weight, casting=casting, offset=0.0)
    assert torch.equal(rms_norm(x, weight, EPS, casting=casting, backend="reference"), expected)
    close = rms_norm(x, weight, EPS, casting=casting, backend="triton")
    assert (close != expected).double().mean() < 0.01  # where the order of a sum tips a rounding


def test_torch_knows_the_reference() -> None:
    op = partial(add_rms_norm, eps=EPS, backend="reference")
    check_registration(op, [random(3, 5), random(3, 5, seed=2), random(5, seed=1)])


def test_a_compiled_function_follows_use_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    for module in (kernels, reference):
        monkeypatch.setattr(module, "forward", noted(module.forward, module.__name__.rpartition(".")[2], ran))
    compiled = torch.compile(lambda x: rms_norm(x), backend="aot_eager", fullgraph=True)
    for name in BACKENDS * 2:
        with use_backend(name, "rms_norm"):
            compiled(random(3, 4, grad=False))
    assert ran == [*BACKENDS, *BACKENDS]


def noted(function: Callable[..., object], name: str, ran: list[str]) -> Callable[..., object]:
    def call(*args: object) -> object:
        ran.append(name)
        return function(*args)

    return call


@pytest.mark.parametrize("backend", BACKENDS)
def test_autocast_changes_nothing(backend: str) -> None:
    x, weight = random(5, 33, dtype=torch.bfloat16), random(33, seed=1)
    plain = rms_norm(x, weight, backend=backend)
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        cast = rms_norm(x, weight, backend=backend)
    assert cast.dtype == torch.float32
    assert torch.equal(cast, plain)


def test_a_new_residual_written_to_in_place_is_an_error_in_the_backward_pass() -> None:
    y, total = add_rms_norm(random(3, 4), random(3, 4, seed=1), random(4))
    total.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (((2, 4), (3,)), {}, r"weight is \[3\] and x \[2, 4\]; weight has to be \[N\]"),
        (((2, 4),), {"offset": 1.0}, "offset is 1.0 without a weight"),
        (((2, 4),), {"casting": "bf16"}, "casting is 'bf16'; it has to be one of llama, gemma, none"),
        (((2, 0),), {}, "N at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: tuple, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rms_norm(*[torch.ones(shape) for shape in arguments], **settings)
    with pytest.raises(ValueError, match=r"residual is \[2, 5\] and x \[2, 4\]"):
        add_rms_norm(torch.ones(2, 4), torch.ones(2, 5))
