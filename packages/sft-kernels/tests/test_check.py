"""The checks of ops refuse ops that are wrong in the ways in which kernels are."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sft_kernels.testing import assert_as_accurate, check_op, check_registration, poisoned_memory
from sft_kernels.testing.inputs import random


def square(x: Tensor) -> Tensor:
    return x * x


def op(forward: Callable[[Tensor], Tensor], backward: Callable[[Tensor, Tensor], Tensor] | None = None) -> Any:
    """x squared, with passes that may be wrong."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return forward(x)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            return (backward or (lambda g, x: 2 * x * g))(grad, *ctx.saved_tensors)

    return Square.apply


def misses_the_last(x: Tensor) -> Tensor:
    out = torch.empty(x.shape, dtype=x.dtype)
    out[..., :-1] = square(x)[..., :-1]
    return out


def writes_to_its_input(x: Tensor) -> Tensor:
    result = square(x)
    x.data[..., 0] += 1
    return result


def ignores_strides(x: Tensor) -> Tensor:
    return square(torch.as_strided(x, x.shape, (x.shape[-1], 1), x.storage_offset()))


def draws(x: Tensor) -> Tensor:
    return square(x) + 1e-6 * torch.rand_like(x)


def writes_to_a_saved_tensor(grad: Tensor, x: Tensor) -> Tensor:
    result = 2 * x * grad
    x.data.mul_(2)
    return result


WRONG = {
    "output 0 is not the same": op(misses_the_last),
    "the op wrote to an input|is not the same": op(writes_to_its_input),
    "output 0 is not the same .*inputs": op(ignores_strides),
    r"output 0 is not the same \(a second run": op(draws),
    "gradient 0 is not the same .a second backward pass": op(square, writes_to_a_saved_tensor),
    "output 0 is off by": op(lambda x: square(x) * 1.001),
    "gradient of input 0 is off by": op(square, lambda grad, x: 2.001 * x * grad),
    "output 0 is torch.float64, and plain PyTorch gives torch.float32": op(lambda x: square(x).double()),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_op_is_refused(message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_op(WRONG[message], square, [random(3, 5)])


def test_a_right_op_passes() -> None:
    check_op(op(square), square, [random(3, 5)])


def test_an_op_that_torch_does_not_know_is_refused() -> None:
    with pytest.raises(AssertionError, match="calls no raw op"):
        check_registration(op(square), [random(3, 5)])


def test_new_memory_is_poisoned_and_the_switch_is_put_back() -> None:
    with poisoned_memory():
        assert torch.empty(100).isnan().all()
        assert torch.ones(1).new_empty(100).isnan().all()
    assert not torch.are_deterministic_algorithms_enabled()


def test_tiny_values_are_not_let_off() -> None:
    exact = torch.rand(100, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1e-5
    plain = exact.bfloat16()
    assert_as_accurate("x", plain, plain, exact)
    with pytest.raises(AssertionError, match="x is off by"):
        assert_as_accurate("x", (exact * 1.1).bfloat16(), plain, exact)
