"""What holds for every op, by one table of them: `sft_kernels.testing.ops`."""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from sft_kernels import dispatch
from sft_kernels.testing import check_accuracy, check_op, check_registration
from sft_kernels.testing.check import raw_calls
from sft_kernels.testing.ops import CASES
from sft_kernels.tiles import KERNELS, use_tiles

SEGMENTS = {
    "one": [24],
    "one of one token": [1],
    "none in the middle": [0, 0, 9, 0, 15, 0],
    "500": [1, 0, 0, 2, 0] * 100,
}
TWICE, FEW = 2.0, 6.0  # plain PyTorch's error; of few numbers the largest error is one draw, for either
# a tanh made of a sigmoid is exact to a rounding of 1, not of itself
FACTORS = {"geglu": 4.0}
LONG = {"apply_rotary_pos_emb", "rope_cached", "qk_norm_rope"}  # in the interpreter: a program for every token
SYNCS = ("item", "tolist", "nonzero", "__bool__", "__int__", "__float__", "__index__")
ON_THE_CPU_ALONE = {"check_targets"}


def kernels_of(name: str) -> partial:
    return partial(CASES[name].function, backend="triton")


def refused(method: str) -> Callable[..., Any]:
    """A method of tensors that only the interpreter, and checks that are made on the CPU alone, may call."""
    real = getattr(Tensor, method)

    def call(self: Tensor, *args: Any, **named: Any) -> Any:
        caller = sys._getframe(1)
        allowed = caller.f_code.co_name in ON_THE_CPU_ALONE or caller.f_globals["__name__"].startswith("triton.")
        assert allowed, f"{caller.f_code.co_filename}:{caller.f_lineno} waits for the device: Tensor.{method}"
        return real(self, *args, **named)

    return call


@pytest.fixture
def large_tiles() -> Iterator[None]:
    """The interpreter's time is by program, not by element."""
    with use_tiles(
        {
            f"{kernel}/{dtype}/64/interpreter": (128, 128, 4, 2)
            for kernel in KERNELS
            for dtype in ("float32", "bfloat16")
        }
    ):
        yield


def test_every_op_is_in_the_table() -> None:
    assert {case.op for case in CASES.values()} == set(dispatch.ops())


@pytest.mark.parametrize("name", CASES)
def test_it_writes_to_nothing_is_deterministic_and_takes_any_strides(name: str) -> None:
    """Inputs and saved tensors: a second backward pass and a second run have the same bits."""
    case = CASES[name]
    check_op(kernels_of(name), case.formula, case.make(9, torch.bfloat16), factor=FEW, products=case.products)


@pytest.mark.usefixtures("large_tiles")
@pytest.mark.parametrize(
    ("name", "tokens", "dtype"),
    [
        pytest.param(name, tokens, dtype, marks=[pytest.mark.slow] if tokens == 1000 and name in LONG else [])
        for name in CASES
        for tokens, dtype in (
            (1, torch.float32),
            (1, torch.bfloat16),
            (63, torch.float32),
            (65, torch.bfloat16),
            (1000, torch.float32),
        )
    ],
    ids=str,
)
def test_any_number_of_tokens_is_as_accurate_as_plain_pytorch(name: str, tokens: int, dtype: torch.dtype) -> None:
    factor = FACTORS.get(name, TWICE) if tokens > 1 else FEW
    check_accuracy(kernels_of(name), CASES[name].formula, CASES[name].make(tokens, dtype), factor=factor)


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        pytest.param(name, each, marks=[pytest.mark.slow] if each == "500" else [])
        for name, case in CASES.items()
        if case.segmented
        for each in SEGMENTS
    ],
)
def test_any_segments_are_as_accurate_as_plain_pytorch(name: str, lengths: str) -> None:
    inputs = CASES[name].make(sum(SEGMENTS[lengths]), torch.float32, SEGMENTS[lengths])  # type: ignore[call-arg]
    check_accuracy(kernels_of(name), CASES[name].formula, inputs, factor=FEW)


@pytest.mark.parametrize("name", CASES)
def test_torch_knows_every_op(name: str) -> None:
    check_registration(kernels_of(name), CASES[name].make(2, torch.float32))


@pytest.mark.parametrize("name", CASES)
def test_other_numbers_of_tokens_compile_once_more_at_most(name: str) -> None:
    torch.compiler.reset()
    counter, case = CompileCounter(), CASES[name]
    function = torch.compile(partial(case.function, backend="reference"), backend=counter, fullgraph=True)
    for tokens in (6, 9, 20, 33):
        function(*case.make(tokens, torch.float32))
    assert counter.frame_count <= 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device itself says so below")
@pytest.mark.parametrize("name", CASES)
def test_launchers_never_read_a_tensor_on_the_host(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Around them is what torch.compile traced as one graph above, which cannot wait for values either."""
    calls = raw_calls(kernels_of(name), CASES[name].make(9, torch.float32))
    for method in SYNCS:
        monkeypatch.setattr(Tensor, method, refused(method))
    for raw, args in calls:
        raw(*args)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", CASES)
def test_a_step_never_waits_for_the_gpu(name: str) -> None:
    inputs = CASES[name].make(65, torch.bfloat16)
    torch.cuda.set_sync_debug_mode("error")
    try:
        raw_calls(kernels_of(name), inputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
