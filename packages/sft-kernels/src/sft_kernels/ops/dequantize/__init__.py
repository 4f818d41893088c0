"""Weights of 4 and 8 bits, back to floating point, in the formats that bitsandbytes writes.

NF4: Dettmers et al., "QLoRA" (arXiv:2305.14314), with double quantisation. FP4 and blockwise 8 bits: Dettmers et al.,
"8-bit Optimizers via Block-wise Quantization" (arXiv:2110.02861). Rowwise int8: Dettmers et al., "LLM.int8()"
(arXiv:2208.07339). The results have the bits of bitsandbytes, which is not needed here.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sft_kernels import dispatch
from sft_kernels.registration import RawOp, define

__all__ = [
    "FP4_CODE",
    "NF4_CODE",
    "QuantState",
    "dequantize",
    "dequantize_8bit",
    "dequantize_fp4",
    "dequantize_int8",
    "dequantize_nf4",
]

NF4_CODE = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""The 16 values of NF4 (QLoRA, appendix E)."""
FP4_CODE = (
    0.0, 0.005208333333, 0.66666667, 1.0, 0.33333333, 0.5, 0.16666667, 0.25,
    0.0, -0.005208333333, -0.66666667, -1.0, -0.33333333, -0.5, -0.16666667, -0.25,
)  # fmt: skip
"""The 16 values of bitsandbytes' FP4: a sign, two bits of exponent, one of mantissa."""
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class QuantState(NamedTuple):
    """What is needed beside the packed bytes.

    A state of bitsandbytes does as well wherever one is taken: `QuantState.of` reads its attributes.
    """

    absmax: Tensor
    """The scales: float32, one per block of elements, or one per row for int8; with double quantisation uint8."""
    shape: tuple[int, ...]
    """Of the weight."""
    dtype: torch.dtype
    """Of the weight before it was quantised: what `dequantize` gives unless told otherwise."""
    code: Tensor | None = None
    """``[16]`` or ``[256]``, float32: the values that indices mean; None for rowwise int8."""
    blocksize: int = 64
    nested_absmax: Tensor | None = None
    """float32, one per `nested_blocksize` scales: the scales of the scales."""
    nested_code: Tensor | None = None
    """``[256]``, float32: the values that `absmax` holds indices of."""
    offset: Tensor | None = None
    """float32, one element: added to the scales."""
    nested_blocksize: int = 256

    @staticmethod
    def of(state: Any) -> "QuantState":
        """A state of this class as it is; else from an object with the attributes of bitsandbytes' states.

        Raises:
            ValueError: neither a 4-bit state (absmax, code, shape, dtype, blocksize, state2, offset), nor an int8 one
                (CB and SCB).
        """
        if isinstance(state, QuantState):
            return state
        scale, quantised = getattr(state, "SCB", None), getattr(state, "CB", None)
        if scale is not None and quantised is not None:
            return QuantState(scale, tuple(quantised.shape), torch.float16)
        if getattr(state, "absmax", None) is None or getattr(state, "code", None) is None:
            raise ValueError(
                f"quant_state is a {type(state).__name__} without absmax and code, or SCB and CB; pass a QuantState"
            )
        inner = getattr(state, "state2", None)
        nested = () if inner is None else (inner.absmax, inner.code, state.offset, inner.blocksize)
        return QuantState(state.absmax, tuple(state.shape), state.dtype, state.code, state.blocksize, *nested)


def dequantize(packed: Tensor, state: Any, *, dtype: torch.dtype | None = None, backend: str | None = None) -> Tensor:
    """The weight that `packed` and `state` mean: 4 bits for a code of 16 values, 8 for one of 256, rowwise without.

    Args:
        packed: the quantised bytes, as in the function for the format.
        state: a `QuantState`, or an object with the attributes of bitsandbytes' states.
        dtype: of the result; None is that of the state.
        backend: ``"triton"`` or ``"reference"``; None chooses (see `sft_kernels.dispatch`).

    Returns:
        Of `state.shape`, contiguous. Not differentiable.

    Raises:
        ValueError: a state, sizes, dtypes or devices that do not fit.
    """
    state = QuantState.of(state)
    _check(packed, state, dtype := dtype or state.dtype)
    chosen = dispatch.choose("dequantize", backend, packed, state.absmax)
    if state.code is None:
        return torch.ops.sft_kernels.dequantize_rowwise(packed, state.absmax, dtype, chosen).reshape(state.shape)
    return torch.ops.sft_kernels.dequantize_blockwise(
        packed.view(torch.uint8), state.absmax, state.code, state.nested_absmax, state.nested_code, state.offset,
        state.blocksize, state.nested_blocksize, state.shape, dtype, chosen,
    )  # fmt: skip


def dequantize_nf4(  # noqa: PLR0913
    packed: Tensor,
    absmax: Tensor,
    code: Tensor | None,
    shape: Sequence[int],
    dtype: torch.dtype,
    blocksize: int = 64,
    *,
    nested_absmax: Tensor | None = None,
    nested_code: Tensor | None = None,
    offset: Tensor | None = None,
    nested_blocksize: int = 256,
    backend: str | None = None,
) -> Tensor:
    """A weight of 4 bits: ``code[index] * absmax[block]``, computed in float32.

    Args:
        packed: two indices a byte, the first in the high half; ``ceil(elements / 2)`` bytes of any shape and dtype.
        absmax: ``[ceil(elements / blocksize)]``, float32; with double quantisation uint8 indices into `nested_code`.
        code: ``[16]``, float32; None is `NF4_CODE`.
        shape: of the weight.
        dtype: of the result.
        blocksize: elements that share a scale.
        nested_absmax: float32, one for `nested_blocksize` scales. The scales are then
            ``nested_code[absmax] * nested_absmax[block of scales] + offset``.
        nested_code: ``[256]``, float32.
        offset: float32, one element.
        nested_blocksize: scales that share a scale.
        backend: ``"triton"`` or ``"reference"``; None chooses (see `sft_kernels.dispatch`).

    Returns:
        ``shape``, contiguous, with the bits of bitsandbytes. Not differentiable.

    Raises:
        ValueError: sizes, dtypes or devices that do not fit.
    """
    if code is None:
        code = torch.tensor(NF4_CODE, dtype=torch.float32, device=packed.device)
    nested = (nested_absmax, nested_code, offset, nested_blocksize)
    state = QuantState(absmax, tuple(shape), dtype, code, blocksize, *nested)
    return dequantize(packed, state, backend=backend)


def dequantize_fp4(
    packed: Tensor, absmax: Tensor, code: Tensor | None, shape: Sequence[int], dtype: torch.dtype, **rest: Any
) -> Tensor:
    """As `dequantize_nf4`, with `FP4_CODE` where `code` is None; `rest` is what follows there."""
    if code is None:
        code = torch.tensor(FP4_CODE, dtype=torch.float32, device=packed.device)
    return dequantize_nf4(packed, absmax, code, shape, dtype, **rest)


def dequantize_8bit(
    quantised: Tensor,
    absmax: Tensor,
    code: Tensor,
    dtype: torch.dtype,
    blocksize: int = 256,
    *,
    backend: str | None = None,
) -> Tensor:
    """``code[index] * absmax[block]``: uint8 indices of any shape, which is that of the result; see `dequantize_nf4`.

    Args:
        quantised: uint8 indices into `code`.
        absmax: ``[ceil(elements / blocksize)]``, float32.
        code: ``[256]``, float32.
        dtype: of the result.
        blocksize: elements that share a scale.
        backend: see `dequantize_nf4`.
    """
    return dequantize(quantised, QuantState(absmax, tuple(quantised.shape), dtype, code, blocksize), backend=backend)


def dequantize_int8(quantised: Tensor, scale: Tensor, dtype: torch.dtype, *, backend: str | None = None) -> Tensor:
    """``quantised * scale / 127`` by rows, in float32: a weight of LLM.int8().

    Args:
        quantised: ``[N, K]``, int8.
        scale: ``[N]``, float32: the largest magnitude of each row (SCB in bitsandbytes).
        dtype: of the result.
        backend: see `dequantize_nf4`.
    """
    return dequantize(quantised, QuantState(scale, tuple(quantised.shape), dtype), backend=backend)


def _check(packed: Tensor, state: QuantState, dtype: torch.dtype) -> None:
    count = prod(state.shape)
    if dtype not in DTYPES:
        raise ValueError(f"dequantize: dtype is {dtype}; it has to be one of {', '.join(map(str, DTYPES))}")
    if not packed.is_contiguous():
        raise ValueError("dequantize: packed is not contiguous; it is bytes in the order of memory")
    if state.code is None:
        if packed.dtype != torch.int8 or packed.ndim != 2 or packed.shape != state.shape:
            raise ValueError(
                f"dequantize: packed is {packed.dtype} {list(packed.shape)}; rowwise it is int8 {list(state.shape)}"
            )
        _size("absmax", state.absmax, packed.shape[0], packed, torch.float32)
        return
    if state.code.numel() not in (16, 256) or state.code.dtype != torch.float32:
        raise ValueError(
            f"dequantize: code is {state.code.dtype} {list(state.code.shape)}; it is float32 [16] or [256]"
        )
    size = packed.numel() * packed.element_size()
    bytes_wanted = (count + 1) // 2 if state.code.numel() == 16 else count
    if size != bytes_wanted or state.blocksize < 1 or state.nested_blocksize < 1:
        raise ValueError(
            f"dequantize: packed has {size} bytes, and {list(state.shape)} in blocks of {state.blocksize}"
            f" takes {bytes_wanted}"
        )
    blocks = -(-count // state.blocksize)
    _size("code", state.code, state.code.numel(), packed, torch.float32)
    if state.nested_absmax is None:
        _size("absmax", state.absmax, blocks, packed, torch.float32)
        return
    if state.nested_code is None or state.offset is None:
        raise ValueError("dequantize: nested_absmax comes with nested_code and offset; pass all three or none")
    _size("absmax", state.absmax, blocks, packed, torch.uint8)
    _size("nested_absmax", state.nested_absmax, -(-blocks // state.nested_blocksize), packed, torch.float32)
    _size("nested_code", state.nested_code, 256, packed, torch.float32)
    _size("offset", state.offset, 1, packed, torch.float32)


def _size(name: str, tensor: Tensor, size: int, packed: Tensor, dtype: torch.dtype) -> None:
    if tensor.numel() != size or tensor.dtype != dtype or tensor.device != packed.device:
        raise ValueError(
            f"dequantize: {name} is {tensor.dtype} {list(tensor.shape)} on {tensor.device};"
            f" it has to be {dtype} with {size} elements on {packed.device}"
        )


def _triton_reason(packed: Tensor, absmax: Tensor) -> str | None:
    return dispatch.triton_reason(packed, absmax)


def _never(*_: Any) -> None:
    """The reference runs everywhere."""


def _fake_blockwise(  # noqa: PLR0913
    packed, absmax, code, nested_absmax, nested_code, offset, blocksize, nested_blocksize, shape, dtype
):
    return packed.new_empty(shape, dtype=dtype)


def _fake_rowwise(quantised, scale, dtype):
    return quantised.new_empty(quantised.shape, dtype=dtype)


define(
    "dequantize",
    RawOp(
        "blockwise",
        "(Tensor packed, Tensor absmax, Tensor code, Tensor? nested_absmax, Tensor? nested_code, Tensor? offset,"
        " int blocksize, int nested_blocksize, SymInt[] shape, ScalarType dtype) -> Tensor",
        _fake_blockwise,
    ),
    RawOp("rowwise", "(Tensor quantised, Tensor scale, ScalarType dtype) -> Tensor", _fake_rowwise),
)
dispatch.add(
    "dequantize",
    dispatch.Implementation("triton", _triton_reason, "sft_kernels.ops.dequantize.triton"),
    dispatch.Implementation("reference", _never, "sft_kernels.ops.dequantize.reference"),
)
