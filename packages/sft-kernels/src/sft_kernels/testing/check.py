"""One function that puts an op through everything an op has to pass."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sft_kernels.testing.tolerance import assert_as_accurate

__all__ = ["check_accuracy", "check_op", "check_registration", "poisoned_memory", "raw_calls"]

Function = Callable[..., Tensor | tuple[Tensor, ...]]
Results = tuple[list[Tensor], list[Tensor | None]]


def check_op(
    function: Function, reference: Function, inputs: Sequence[Any], *, factor: float = 2.0, products: bool = False
) -> None:
    """Checks an op's results and gradients on inputs; raises AssertionError with what is wrong.

    - Outputs and gradients are as near to float64 as the rule in `sft_kernels.testing.tolerance` wants, and have the
      dtypes that plain PyTorch gives them.
    - No input and no saved tensor is written to: a second backward pass gives the same bits.
    - All of the output is written: memory is NaN before.
    - It is deterministic: a second run gives the same bits.
    - Strides do not matter: padded rows and every other element, of inputs and of gradients, give the same bits.

    Args:
        function: the op, with settings bound: ``partial(rms_norm, eps=1e-5, backend="triton")``.
        reference: the same in plain PyTorch operations, differentiated by autograd; called with the inputs as they
            are and in float64.
        inputs: tensors or anything else. Gradients are checked of those that require them.
        factor: how many times plain PyTorch's error is allowed.
        products: the op is made of matrix products of torch, which add in another order where strides are others:
            results on strided inputs need not be the same bits, but as accurate.
    """
    before = [x.detach().clone() if isinstance(x, Tensor) else x for x in inputs]
    with poisoned_memory():
        outputs, gradients = _run(function, inputs)
        again = _run(function, inputs, twice=False)
    for old, new in zip(before, inputs, strict=True):
        assert not isinstance(new, Tensor) or torch.equal(old, new), "the op wrote to an input"
    _assert_same((outputs, gradients), again, "a second run")
    found = [(outputs, gradients)]
    for layout in (_padded_rows, _every_other):
        strided = _run(function, _each(inputs, layout), layout, twice=False)
        if products:
            found.append(strided)
        else:
            _assert_same((outputs, gradients), strided, f"{layout.__name__} inputs")
    _assert_accurate(found, reference, inputs, factor)


def check_accuracy(function: Function, reference: Function, inputs: Sequence[Any], *, factor: float = 2.0) -> None:
    """What `check_op` checks of accuracy, on poisoned memory, with one pass each way: for inputs that take long."""
    with poisoned_memory():
        found = _run(function, inputs, twice=False)
    _assert_accurate([found], reference, inputs, factor)


def _assert_accurate(found: list[Results], reference: Function, inputs: Sequence[Any], factor: float) -> None:
    plain, exact = (_run(reference, x, twice=False) for x in (inputs, _each(inputs, Tensor.double)))
    names = [f"output {i}" for i in range(len(plain[0]))] + [f"gradient of input {i}" for i in _differentiable(inputs)]
    for outputs, gradients in found:
        results = (outputs + gradients, plain[0] + plain[1], exact[0] + exact[1])
        for name, actual, low, right in zip(names, *results, strict=True):
            assert (actual is None) == (right is None), f"{name} is missing, or should be"
            if actual is not None and low is not None and right is not None:
                assert_as_accurate(name, actual, low, right, factor)


def check_registration(function: Function, inputs: Sequence[Any]) -> None:
    """Checks on small inputs what torch has to know of an op; raises what torch raises.

    ``gradcheck`` in float64, where an input requires a gradient; ``opcheck`` of every raw op of this package that the
    op and its backward pass call; and ``torch.compile`` of the whole as one graph, with the same bits as without.
    """
    wide = _each(inputs, Tensor.double)
    # in random directions: in triton's interpreter each run takes long, and the full way takes two for every element
    assert not _differentiable(wide) or torch.autograd.gradcheck(function, wide, fast_mode=True)
    eager = _run(function, inputs, twice=False)
    for raw, args in raw_calls(function, inputs):
        torch.library.opcheck(raw, args)
    torch.compiler.reset()
    compiled = torch.compile(lambda *args: function(*args), backend="aot_eager", fullgraph=True)
    _assert_same(eager, _run(compiled, inputs, twice=False), "under torch.compile")


def raw_calls(function: Function, inputs: Sequence[Any]) -> list[tuple[Any, tuple[Any, ...]]]:
    """The raw ops of this package that an op and its backward pass call, with copies of their arguments."""
    with _Recorder() as recorder:
        _run(function, inputs, twice=False)
    assert recorder.calls, "the op calls no raw op of sft_kernels"
    return recorder.calls


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """New memory is NaN (integers: the largest value) before it is written to, by torch's own switch."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    switch: Any = torch.utils.deterministic
    filled = switch.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    switch.fill_uninitialized_memory = True
    try:
        yield
    finally:
        switch.fill_uninitialized_memory = filled
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


class _Recorder(TorchDispatchMode):
    """Notes calls of this package's raw ops."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "sft_kernels":
            self.calls.append((func, tuple(a.detach().clone() if isinstance(a, Tensor) else a for a in args)))
        return func(*args, **(kwargs or {}))


def _run(
    function: Function, inputs: Sequence[Any], layout: Callable[[Tensor], Tensor] = Tensor.clone, *, twice: bool = True
) -> Results:
    """Outputs, and gradients of the inputs that require them, in a random direction that is always the same.

    With `twice`, a second backward pass has to give them again.
    """
    produced = function(*inputs)
    outputs = list(produced) if isinstance(produced, tuple) else [produced]
    wanted = [inputs[i] for i in _differentiable(inputs)]
    ends = [out for out in outputs if out.requires_grad]
    if not wanted or not ends:
        return [out.detach() for out in outputs], [None] * len(wanted)
    directions = [layout(_direction(out)) for out in ends]
    first = torch.autograd.grad(ends, wanted, directions, retain_graph=twice, allow_unused=True)
    kept = [out.detach() for out in outputs]
    if twice:
        second = torch.autograd.grad(ends, wanted, directions, allow_unused=True)
        _assert_same((kept, list(first)), (kept, list(second)), "a second backward pass")
    return kept, list(first)


def _direction(out: Tensor) -> Tensor:
    """Values that every dtype can hold, so that all precisions go in the same direction."""
    generator = torch.Generator().manual_seed(out.numel())
    return (torch.randint(-64, 65, out.shape, generator=generator) / 32).to(out)


def _differentiable(inputs: Sequence[Any]) -> list[int]:
    return [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]


def _each(inputs: Sequence[Any], change: Callable[[Tensor], Tensor]) -> list[Any]:
    """Floating-point inputs changed, as leaves that require gradients where they did; the others as they are."""
    return [
        change(x.detach()).requires_grad_(x.requires_grad) if isinstance(x, Tensor) and x.is_floating_point() else x
        for x in inputs
    ]


def _padded_rows(x: Tensor) -> Tensor:
    if x.ndim == 0:
        return x.clone()
    wide = x.new_full((*x.shape[:-1], x.shape[-1] + 3), float("nan"))
    wide[..., : x.shape[-1]] = x
    return wide[..., : x.shape[-1]]


def _every_other(x: Tensor) -> Tensor:
    if x.ndim == 0:
        return x.clone()
    wide = x.new_full((*x.shape[:-1], x.shape[-1] * 2), float("nan"))
    wide[..., ::2] = x
    return wide[..., ::2]


def _assert_same(expected: Results, actual: Results, when: str) -> None:
    for kind, left, right in zip(("output", "gradient"), expected, actual, strict=True):
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            if a is None or b is None:
                assert a is b, f"{kind} {i} is missing in one of two runs ({when})"
                continue
            assert a.dtype == b.dtype, f"{kind} {i} has another dtype ({when})"
            same = (a == b) | (a.isnan() & b.isnan())  # NaN is for the comparison with float64 to refuse
            assert same.all(), f"{kind} {i} is not the same ({when})"
