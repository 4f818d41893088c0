"""Which implementation of an op runs.

Every op has a table of implementations, best first. Each row says why it cannot run on given arguments, or None; the
first row without such a reason is taken. A choice made by hand comes before that, the nearest one first: the
argument ``backend=``, then ``use_backend``, then ``SFT_KERNELS_BACKEND_<OP>``, then ``SFT_KERNELS_BACKEND``. An
explicit choice that cannot be honoured is an error and never a silent fallback.

A choice is made from devices, dtypes and shapes alone, in Python that ``torch.compile`` can trace, and before
autograd: the backward pass uses the implementation of the forward pass.
"""

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sft_kernels import env

__all__ = [
    "Implementation",
    "add",
    "choose",
    "implementations",
    "load",
    "ops",
    "refuse_sharded",
    "triton_reason",
    "use_backend",
]

Reason = str | None

HAS_TRITON = find_spec("triton") is not None
PLAIN = ("reference", "sdpa")  # names of implementations in plain PyTorch
BY_NAME_ON_CPU = ("triton", "flex")  # its interpreter, and scores written out: there for comparisons
TRITON_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class Implementation(NamedTuple):
    """A row of an op's table."""

    name: str
    reason_not: Callable[..., Reason]
    """Takes the arguments that the op passes to `choose`; says why it cannot run on them, or None."""
    functions: str
    """The module with the functions that the op's registration names (``forward``, ``backward``), imported on use."""


_TABLES: dict[str, list[Implementation]] = {}
_asked: dict[str, str] = {}  # by `use_backend`; "" is all ops. Of the whole process: backward runs in other threads


def add(op: str, *rows: Implementation) -> None:
    """Puts implementations before those that `op` has; a new name makes a new op.

    Raises:
        ValueError: the op has an implementation of that name already.
    """
    table = _TABLES.setdefault(op, [])
    taken = {row.name for row in table} & {row.name for row in rows}
    if taken:
        raise ValueError(f"{op} has an implementation named {sorted(taken)[0]!r} already; give yours another name")
    table[:0] = rows


@contextmanager
def use_backend(name: str, *ops: str) -> Iterator[None]:
    """Asks for an implementation, for some ops or for all ops that have it, in the whole process.

    Raises:
        ValueError: no such op, or the op has no implementation of that name.
    """
    before = dict(_asked)
    for op in ops:
        _row(op, name)
    if not ops and not any(name in _names(op) for op in _TABLES):
        raise ValueError(f"use_backend({name!r}): no op has such an implementation; ops are {_listed(_TABLES)}")
    _asked.update(dict.fromkeys(ops or ("",), name))
    try:
        yield
    finally:
        _asked.clear()
        _asked.update(before)


def ops() -> list[str]:
    """Names of all ops."""
    return list(_TABLES)


def implementations(op: str, *args: Any) -> dict[str, Reason]:
    """What could run `op` on arguments: names in order of preference, with the reason why not, or None.

    `args` are those that the op passes to `choose`; its docstring says which.

    Raises:
        ValueError: no such op.
    """
    return {row.name: row.reason_not(*args) for row in _table(op)}


def choose(op: str, backend: str | None, *args: Any) -> str:
    """The name of the implementation that runs `op` on arguments.

    Raises:
        ValueError: the implementation asked for does not exist or cannot run here, or none can; or a DTensor.
    """
    refuse_sharded(op, *args)
    name, origin = _request(op, backend)
    if name is not None:
        reason = _row(op, name).reason_not(*args)
        if reason is not None:
            able = [other for other, why in implementations(op, *args).items() if why is None]
            raise ValueError(
                f"{op}: {origin} asks for {name!r}, which cannot run here: {reason}. Able to run: {_listed(able)}"
            )
        return name
    for row in _table(op):
        if not (row.name in BY_NAME_ON_CPU and _on_cpu(args)) and row.reason_not(*args) is None:
            _warn_of_slow(op, row.name, args)
            return row.name
    raise ValueError(f"{op}: nothing can run here: {implementations(op, *args)}")


def refuse_sharded(op: str, *args: Any) -> None:
    """Refuses DTensors: an op computes on what one process holds, and a part of a weight is not the weight.

    Where ``fully_shard`` was applied to a module, its weights are whole tensors within its forward pass.

    Raises:
        ValueError: which op, what it was given, and what to pass.
    """
    for arg in args:
        if isinstance(arg, Tensor) and hasattr(arg, "device_mesh"):
            given: Any = arg
            raise ValueError(
                f"{op}: a tensor of shape {list(given.shape)} is a DTensor with placements {given.placements}; call the"
                " op in the forward pass of the module that fully_shard was applied to, where weights are whole, or"
                " pass .full_tensor(), or .to_local() where every process computes its own part"
            )


def load(op: str, name: str) -> Any:
    """The module of an implementation; imported on first use."""
    return importlib.import_module(_row(op, name).functions)


def triton_reason(*tensors: Tensor | None) -> Reason:
    """Why triton cannot run on these tensors, or None: the part of the answer that all triton kernels share."""
    if not HAS_TRITON:
        return "triton is not installed"
    for tensor in tensors:
        if tensor is None:
            continue
        if tensor.device.type != "cuda" and not (tensor.device.type == "cpu" and env.INTERPRETING):
            return f"a tensor is on {tensor.device.type!r}, not on a GPU (on the CPU, TRITON_INTERPRET=1 is needed)"
        if tensor.is_floating_point() and tensor.dtype not in TRITON_DTYPES:
            return f"a tensor is of dtype {tensor.dtype}; known are {_listed(TRITON_DTYPES)}"
    return None


def check_environment() -> None:
    """Refuses variables that name no op or no implementation; called when all ops are defined.

    Raises:
        ValueError: which variable, its value, and what it could be.
    """
    for op, name in env.BACKEND_OF.items():
        if op not in _TABLES:
            raise ValueError(f"SFT_KERNELS_BACKEND_{op.upper()}={name}: no such op; ops are {_listed(_TABLES)}")
        _row(op, name)
    if env.BACKEND is not None and not any(env.BACKEND in _names(op) for op in _TABLES):
        raise ValueError(f"SFT_KERNELS_BACKEND={env.BACKEND}: no op has an implementation of that name")


def _request(op: str, backend: str | None) -> tuple[str | None, str]:
    """The implementation asked for by the nearest request, and where it was asked for."""
    if backend is not None:
        return backend, "backend="
    if op in _asked:
        return _asked[op], "use_backend"
    if "" in _asked and _asked[""] in _names(op):
        return _asked[""], "use_backend"
    if op in env.BACKEND_OF:
        return env.BACKEND_OF[op], f"SFT_KERNELS_BACKEND_{op.upper()}"
    if env.BACKEND is not None and env.BACKEND in _names(op):
        return env.BACKEND, "SFT_KERNELS_BACKEND"
    return None, ""


def _table(op: str) -> list[Implementation]:
    if op not in _TABLES:
        raise ValueError(f"no op is named {op!r}; ops are {_listed(_TABLES)}")
    return _TABLES[op]


def _names(op: str) -> list[str]:
    return [row.name for row in _table(op)]


def _row(op: str, name: str) -> Implementation:
    for row in _table(op):
        if row.name == name:
            return row
    raise ValueError(f"{op} has no implementation {name!r}; it has {_listed(_names(op))}")


def _on_cpu(args: tuple[Any, ...]) -> bool:
    """Whether an input is on the CPU, where some run when they are asked for and never by themselves."""
    return any(isinstance(arg, Tensor) and arg.device.type == "cpu" for arg in args)


def _warn_of_slow(op: str, name: str, args: tuple[Any, ...]) -> None:
    """Once per op and text, where a GPU runs what is meant for the CPU because no kernel can."""
    on_gpu = any(isinstance(arg, Tensor) and arg.device.type == "cuda" for arg in args)
    if name in PLAIN and on_gpu and not torch.compiler.is_compiling():
        why = {other: reason for other, reason in implementations(op, *args).items() if reason is not None}
        warnings.warn(f"{op} runs in plain PyTorch, which is slow: {why}", stacklevel=4)


def _listed(names: Any) -> str:
    return ", ".join(str(name) for name in names) or "none"
