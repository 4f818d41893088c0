"""Makes triton's interpreter compute what a GPU computes, where the installed version does not.

The interpreter of triton 3.9 holds bfloat16 as bit patterns and adds, multiplies, compares and sums the patterns; it
cuts float32 to bfloat16 instead of rounding to even; it hands python floats to kernels as they are; and it has no
libdevice. All without an error. `correct_interpreter` replaces methods of the interpreter's builder where a self-test
gets a wrong result, and does nothing where it gets the right one. It changes triton for the whole process: for tests.

It needs numpy, as the interpreter does.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
from triton.language.extra import libdevice
from triton.runtime import interpreter

__all__ = ["correct_interpreter", "faults"]

Builder: Any = interpreter.InterpreterBuilder
Reduce: Any = interpreter.ReduceOps
Handle: Any = interpreter.TensorHandle
COMPARISONS = (np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal)
BITWISE = (np.bitwise_and, np.bitwise_or, np.bitwise_xor)
LIBDEVICE = {
    "tanh": np.tanh,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
}
CASTS = ("create_si_to_fp", "create_ui_to_fp", "create_fp_to_si", "create_fp_to_ui", "create_fp_ext", "create_fp_trunc")


def correct_interpreter() -> list[str]:
    """Replaces what computes wrongly, and returns the names of the faults that were found (none: nothing changed)."""
    found = faults()
    if found:
        _correct_arithmetic()
        _correct_casts()
        _correct_reductions()
        _correct_scalars()
    return found


def faults() -> list[str]:
    """What the interpreter gets wrong on values whose results are known."""
    builder = Builder()
    three_halves, two = _low(np.array([1.5], np.float32)), _low(np.array([2.0], np.float32))
    tie = Handle(np.array([1 + 3 * 2.0**-8], np.float32), tl.float32)  # half-way: to even is up, and cutting is down
    scalar = interpreter._implicit_cvt(0.5)
    total = Reduce(0, None, False).sum(
        tl.tensor(_low(np.array([1.5, 2.0], np.float32)), tl.block_type(tl.bfloat16, [2]))
    )
    checks = {
        "bfloat16 sum of two": _high(builder.create_fadd(three_halves, two)) == 3.5,
        "bfloat16 reduction": _high(total.handle) == 3.5,
        "rounding to bfloat16": _high(builder.create_fp_trunc(tie, tl.bfloat16)) == 1 + 2.0**-6,
        "python floats": isinstance(scalar, tl.tensor),
    }
    return [name for name, right in checks.items() if not np.all(right)]


def _decode(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _encode(values: np.ndarray) -> np.ndarray:
    """The nearest bfloat16, ties to even, as bits."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return np.where(np.isnan(values), np.uint16(0x7FC0), (rounded >> np.uint32(16)).astype(np.uint16)).astype(np.uint16)


def _is_low(handle: Any) -> bool:
    return handle.dtype.scalar == tl.bfloat16


def _widen(handle: Any) -> Any:
    return Handle(_decode(handle.data), tl.float32) if _is_low(handle) else handle


def _high(handle: Any) -> np.ndarray:
    return _widen(handle).data


def _low(values: np.ndarray) -> Any:
    return Handle(_encode(values), tl.bfloat16)


def _in_float32(name: str) -> None:
    """The method computes in float32 and rounds, where its last operand is bfloat16."""
    before = getattr(Builder, name)

    def method(self: Any, *args: Any) -> Any:
        operands = [arg for arg in args if isinstance(arg, Handle)]
        if not _is_low(operands[-1]):
            return before(self, *args)
        return _low(before(self, *[_widen(arg) if isinstance(arg, Handle) else arg for arg in args]).data)

    setattr(Builder, name, method)


def _correct_arithmetic() -> None:
    for name in ("unary_op", "create_fma", "create_rsqrt", "create_erf"):
        _in_float32(name)
    binary, dot = Builder.binary_op, Builder.create_dot

    def binary_op(self: Any, left: Any, right: Any, op: Any) -> Any:
        if not (_is_low(left) and _is_low(right)) or op in BITWISE:
            return binary(self, left, right, op)
        result = binary(self, _widen(left), _widen(right), op)
        return Handle(result.data, tl.bfloat16) if op in COMPARISONS else _low(result.data)

    def create_dot(self: Any, a: Any, b: Any, d: Any, *rest: Any) -> Any:
        return dot(self, _widen(a), _widen(b), d, *rest)

    Builder.binary_op, Builder.create_dot = binary_op, create_dot


def _correct_casts() -> None:
    cast, float_to_float = Builder.cast_impl, Builder.create_fp_to_fp

    def cast_impl(self: Any, source: Any, to: Any) -> Any:
        if _is_low(source) and to.scalar != tl.bfloat16:
            return _widen(source) if to.scalar == tl.float32 else cast(self, _widen(source), to)
        if to.scalar == tl.bfloat16 and not _is_low(source):
            return _low(source.data.astype(np.float32))
        return cast(self, source, to)

    def create_fp_to_fp(self: Any, source: Any, to: Any, rounding: Any) -> Any:
        if tl.bfloat16 in (source.dtype.scalar, to.scalar):
            return self.cast_impl(source, to)
        return float_to_float(self, source, to, rounding)

    Builder.cast_impl, Builder.create_fp_to_fp = cast_impl, create_fp_to_fp
    for name in CASTS:
        setattr(Builder, name, lambda self, source, to: self.cast_impl(source, to))


def _correct_reductions() -> None:
    total, min_max = Reduce.sum, Reduce.min_max

    def widened(x: Any) -> Any:
        return tl.tensor(_widen(x.handle), tl.block_type(tl.float32, list(x.handle.data.shape)))

    def narrowed(self: Any, result: Any) -> Any:
        return self.to_tensor(_encode(result.handle.data), tl.bfloat16) if result.dtype.scalar == tl.float32 else result

    def corrected_sum(self: Any, x: Any) -> Any:
        return narrowed(self, total(self, widened(x))) if _is_low(x.handle) else total(self, x)

    def corrected_min_max(self: Any, x: Any, *ops: Any, **named: Any) -> Any:
        x = x[0] if isinstance(x, tuple) else x
        if not _is_low(x.handle):
            return min_max(self, x, *ops, **named)
        result = min_max(self, widened(x), *ops, **named)
        if isinstance(result, tuple):
            return tuple(narrowed(self, part) for part in result)
        return narrowed(self, result)

    Reduce.sum, Reduce.min_max = corrected_sum, corrected_min_max


def _correct_scalars() -> None:
    convert = interpreter._implicit_cvt

    def implicit(argument: Any) -> Any:
        if isinstance(argument, float):
            return tl.tensor(Handle(np.array([argument], np.float32), tl.float32), tl.float32)
        return convert(argument)

    interpreter._implicit_cvt = implicit
    for name, function in LIBDEVICE.items():
        setattr(libdevice, name, _elementwise(function))


def _elementwise(function: Callable[[np.ndarray], np.ndarray]) -> Callable[..., Any]:
    def call(x: Any, _semantic: Any = None) -> Any:
        values = _high(x.handle)
        result = function(values).astype(values.dtype)
        return tl.tensor(_low(result) if _is_low(x.handle) else Handle(result, x.handle.dtype), x.type)

    return call
