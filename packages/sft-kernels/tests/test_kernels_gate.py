"""The kernels compile for GPUs that are not here, and spend what the file says."""

import os
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import pytest

TOOL = Path(__file__).parents[3] / "tools" / "kernels_gate.py"

pytestmark = [
    pytest.mark.skipif(not TOOL.exists(), reason="the gate is part of the repository, not of the package"),
    pytest.mark.skipif(find_spec("triton") is None, reason="needs triton"),
]


@pytest.fixture(scope="module")
def gate() -> ModuleType:
    spec = spec_from_file_location("kernels_gate", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_kernels_spend_what_the_file_says() -> None:
    compiling = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, TOOL], env=compiling, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kernels compiled, 0 differ" in done.stdout


def test_a_kernel_that_is_compiled_for_a_number_of_tokens_is_named(gate: ModuleType) -> None:
    class Argument(NamedTuple):
        name: str
        do_not_specialize: bool

    def form(*arguments: Argument) -> SimpleNamespace:
        kernel = SimpleNamespace(params=arguments, arg_names=[each.name for each in arguments])
        return SimpleNamespace(name="toy", kernel=kernel)

    right = form(Argument("n_rows", True), Argument("n_columns", False))
    wrong = form(Argument("n_rows", True), Argument("n_tokens", False))
    assert gate.compiling_again([right]) == []
    assert gate.compiling_again([right, wrong]) == [
        "toy: n_tokens changes from batch to batch; add it to do_not_specialize"
    ]


BEFORE = {"a": {"registers": 32, "spilled": 0}, "b": {"registers": 64, "spilled": 8}}


@pytest.mark.parametrize(
    ("now", "same_triton", "found"),
    [
        (BEFORE, True, []),
        (BEFORE | {"a": {"registers": 33, "spilled": 0}}, True, ["a: "]),
        (BEFORE | {"a": {"registers": 33, "spilled": 0}}, False, []),
        (BEFORE | {"b": {"registers": 64, "spilled": 16}}, False, ["b: "]),
        (BEFORE | {"c": {"registers": 8, "spilled": 0}}, False, ["c: not in the file"]),
        ({"a": BEFORE["a"]}, True, ["b: not compiled any more"]),
    ],
)
def test_the_gate_tells_what_differs(gate: ModuleType, now: dict, same_triton: bool, found: list[str]) -> None:
    messages = gate.differences(BEFORE, now, same_triton)
    assert [message[: len(start)] for message, start in zip(messages, found, strict=True)] == found
