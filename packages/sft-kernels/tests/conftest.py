"""Where the tests in ops/ run kernels: on a GPU; else in triton's interpreter; else in a process of their own.

The interpreter has to be asked for before triton is imported, and changes triton for the whole process. So it is
asked for here only when all of the run's tests are this package's; beside others, test_ops_in_the_interpreter.py
runs the files of ops/ in child processes.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

PACKAGE = Path(__file__).resolve().parent.parent
OPS = PACKAGE / "tests" / "ops"


def on_gpu() -> bool:
    return torch.cuda.is_available()


def can_interpret() -> bool:
    return all(find_spec(name) for name in ("triton", "numpy"))


def pytest_configure(config: pytest.Config) -> None:
    paths = [Path(config.invocation_params.dir, arg.partition("::")[0]).resolve() for arg in config.args]
    alone = all(path.is_relative_to(PACKAGE) for path in paths) and "triton" not in sys.modules
    if alone and can_interpret() and not on_gpu():
        os.environ["TRITON_INTERPRET"] = "1"
    if os.environ.get("TRITON_INTERPRET") == "1":
        from sft_kernels.testing.interpreter import correct_interpreter

        correct_interpreter()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if collection_path == OPS and not on_gpu() and os.environ.get("TRITON_INTERPRET") != "1":
        return True
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if on_gpu() and item.path.is_relative_to(OPS):
            item.add_marker(pytest.mark.gpu)
