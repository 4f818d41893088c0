"""Dequantisation against bitsandbytes' on the CPU, bit by bit; it is not needed elsewhere."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sft_kernels.ops.dequantize import (
    FP4_CODE,
    NF4_CODE,
    QuantState,
    dequantize,
    dequantize_8bit,
    dequantize_fp4,
    dequantize_int8,
    dequantize_nf4,
)
from sft_kernels.testing import poisoned_memory
from sft_kernels.testing.inputs import random, sizes

BACKENDS = ("triton", "reference")
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SHAPES = [(3, 2), (63, 66), (2, 65, 64), (128, 130)]

bitsandbytes = pytest.importorskip("bitsandbytes.functional", reason="compares with bitsandbytes")


DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def weight(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return random(*shape, dtype=dtype, grad=False) * 0.02


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_four_bits_are_those_of_bitsandbytes(dtype: torch.dtype, kind: str, nested: bool) -> None:
    for shape, blocksize in zip(SHAPES, (64, 128, 64, 256), strict=True):
        packed, state = bitsandbytes.quantize_4bit(
            weight(*shape, dtype=dtype), blocksize=blocksize, quant_type=kind, compress_statistics=nested
        )
        expected = bitsandbytes.dequantize_4bit(packed, state)
        for backend in BACKENDS:
            with poisoned_memory():
                actual = dequantize(packed, state, backend=backend)
            assert (actual.dtype, actual.shape) == (dtype, expected.shape)
            assert torch.equal(actual, expected)
        own = QuantState.of(state)
        extra = {name: getattr(own, name) for name in ("nested_absmax", "nested_code", "offset")}
        by_name = dequantize_nf4 if kind == "nf4" else dequantize_fp4
        spelt_out = by_name(packed, own.absmax, None, shape, dtype, blocksize=blocksize, **extra)
        assert torch.equal(spelt_out, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_eight_bits_are_those_of_bitsandbytes(dtype: torch.dtype) -> None:
    for shape, blocksize in ((1, 1), 64), ((63, 65), 256), ((2, 3, 700), 4096):
        quantised, state = bitsandbytes.quantize_blockwise(weight(*shape, dtype=dtype), blocksize=blocksize)
        expected = bitsandbytes.dequantize_blockwise(quantised, state)
        for backend in BACKENDS:
            with poisoned_memory():
                actual = dequantize_8bit(quantised, state.absmax, state.code, dtype, blocksize, backend=backend)
            assert torch.equal(actual, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_int8_by_rows_is_that_of_bitsandbytes(dtype: torch.dtype) -> None:
    for shape in (1, 1), (63, 65), (3, 5000):
        quantised, scale, _ = bitsandbytes.int8_vectorwise_quant(weight(*shape, dtype=torch.float16))
        expected = torch.ops.bitsandbytes.int8_vectorwise_dequant(quantised, scale).to(dtype)
        for backend in BACKENDS:
            with poisoned_memory():
                actual = dequantize_int8(quantised, scale, dtype, backend=backend)
            assert torch.equal(actual, expected)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(sizes(1000), st.sampled_from([1, 3, 64, 100]))
def test_any_number_of_elements_and_any_block(count: int, blocksize: int) -> None:
    generator = torch.Generator().manual_seed(count)
    packed = torch.randint(0, 256, ((count + 1) // 2,), dtype=torch.uint8, generator=generator).to(DEVICE)
    absmax = torch.rand(-(-count // blocksize), generator=generator).to(DEVICE)
    arguments = (packed, absmax, None, (count,), torch.float32, blocksize)
    actual = dequantize_nf4(*arguments, backend="triton")
    assert torch.equal(actual, dequantize_nf4(*arguments, backend="reference"))
    for place in {0, count // 2, count - 1}:
        byte = int(packed[place // 2])
        index = byte & 15 if place % 2 else byte >> 4
        assert actual[place] == torch.tensor(NF4_CODE, device=DEVICE)[index] * absmax[place // blocksize]


def test_the_codes_are_those_of_bitsandbytes() -> None:
    for name, ours in (("nf4", NF4_CODE), ("fp4", FP4_CODE)):
        assert torch.equal(bitsandbytes.get_4bit_type(name, device="cpu"), torch.tensor(ours))


@pytest.mark.parametrize("backend", BACKENDS)
def test_torch_knows_the_op(backend: str) -> None:
    packed, state = bitsandbytes.quantize_4bit(weight(5, 66), quant_type="nf4", compress_statistics=True)
    own = QuantState.of(state)
    nested = (own.nested_absmax, own.nested_code, own.offset, own.blocksize, own.nested_blocksize)
    blockwise = (packed, own.absmax, own.code, *nested, list(own.shape), torch.bfloat16, backend)
    torch.library.opcheck(torch.ops.sft_kernels.dequantize_blockwise, blockwise)
    rowwise = (torch.ones(3, 4, dtype=torch.int8, device=DEVICE), torch.ones(3, device=DEVICE), torch.float32, backend)
    torch.library.opcheck(torch.ops.sft_kernels.dequantize_rowwise, rowwise)
    torch.compiler.reset()
    compiled = torch.compile(lambda: dequantize(packed, own, backend=backend), backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(), dequantize(packed, own, backend=backend))


def test_blocks_that_cross_rows_are_those_that_were_quantised() -> None:
    # bitsandbytes 0.50 begins a block with each row here, on CPUs with AVX512: off by half of the weight
    original = weight(65, 32)
    packed, state = bitsandbytes.quantize_4bit(original, quant_type="nf4", blocksize=64)
    for backend in BACKENDS:
        assert (dequantize(packed, state, backend=backend) - original).abs().max() < 0.16 * original.abs().max()


def test_bytes_may_be_stored_as_another_dtype() -> None:
    packed, state = bitsandbytes.quantize_4bit(weight(8, 64), quant_type="nf4", quant_storage=torch.bfloat16)
    assert packed.dtype == torch.bfloat16
    assert torch.equal(dequantize(packed, state), bitsandbytes.dequantize_4bit(packed, state))


def test_what_does_not_fit_is_refused() -> None:
    packed, absmax, bf16 = torch.zeros(32, dtype=torch.uint8), torch.ones(1), torch.bfloat16
    with pytest.raises(ValueError, match=r"packed has 32 bytes, and \[2, 33\] in blocks of 64 takes 33"):
        dequantize_nf4(packed, absmax, None, (2, 33), bf16)
    with pytest.raises(ValueError, match=r"absmax is torch.float32 \[1\] on cpu; it has to be torch.float32 with 2"):
        dequantize_nf4(packed, absmax, None, (64,), bf16, 32)
    with pytest.raises(ValueError, match="nested_absmax comes with nested_code and offset"):
        dequantize_nf4(packed, absmax, None, (64,), bf16, nested_absmax=absmax)
    with pytest.raises(ValueError, match=r"dtype is torch.int8"):
        dequantize_nf4(packed, absmax, None, (64,), torch.int8)
    with pytest.raises(ValueError, match=r"rowwise it is int8 \[32\]"):
        dequantize_int8(packed, absmax, bf16)
    with pytest.raises(ValueError, match="quant_state is a dict without absmax and code"):
        dequantize(packed, {})
