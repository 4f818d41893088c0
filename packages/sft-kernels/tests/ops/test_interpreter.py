"""Triton's interpreter, corrected where it is wrong, computes what torch computes; a GPU does so anyway."""

import os

import pytest
import torch
import triton
import triton.language as tl

from sft_kernels.testing.inputs import random

interpreted = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="kernels run on the GPU")


@triton.jit
def arithmetic(x_ptr, y_ptr, sum_ptr, largest_ptr, product_ptr, scale, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)[:, None] * SIZE + tl.arange(0, SIZE)[None, :]
    x, y = tl.load(x_ptr + at), tl.load(y_ptr + at)
    tl.store(sum_ptr + at, x + y)
    tl.store(largest_ptr + tl.arange(0, SIZE), tl.max(x, 1))
    tl.store(product_ptr + at, tl.dot(x, y) * tl.cast(scale, tl.float32))


@triton.jit
def rounded(x_ptr, y_ptr, SIZE: tl.constexpr):
    tl.store(y_ptr + tl.arange(0, SIZE), tl.load(x_ptr + tl.arange(0, SIZE)).to(y_ptr.dtype.element_ty))


@interpreted
def test_no_fault_is_left() -> None:
    from sft_kernels.testing.interpreter import correct_interpreter, faults

    assert faults() == []
    assert correct_interpreter() == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_arithmetic_in_every_dtype(dtype: torch.dtype) -> None:
    x, y = random(16, 16, dtype=dtype, grad=False), random(16, 16, dtype=dtype, seed=1, grad=False)
    total, largest = torch.empty_like(x), torch.empty_like(x[0])
    product = torch.empty_like(x, dtype=torch.float32)
    arithmetic[(1,)](x, y, total, largest, product, 0.5, SIZE=16)
    assert torch.equal(total, x + y)
    assert torch.equal(largest, x.max(1).values)
    torch.testing.assert_close(product, x.float() @ y.float() / 2, rtol=2e-3, atol=2e-3)


def test_float32_is_rounded_to_the_nearest_bfloat16() -> None:
    x = torch.cat(
        [random(250, grad=False), torch.tensor([0.0, -0.0, float("inf"), 1e-40, 1 + 3 * 2.0**-8, 3e38]).to(random(1))]
    )
    y = torch.empty_like(x, dtype=torch.bfloat16)
    rounded[(1,)](x, y, SIZE=256)
    assert torch.equal(y, x.bfloat16())
