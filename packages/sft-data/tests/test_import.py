"""What importing the package loads, and that its names are there all the same."""

import subprocess
import sys

import pytest

import sft_data

HEAVY = {
    "datasets", "fsspec", "huggingface_hub", "jinja2", "numpy", "pandas", "pyarrow", "pydantic", "sft_schema",
    "tiktoken", "tokenizers", "torch", "transformers",
}  # fmt: skip
OF_A_PREPARATION = {"jinja2", "numpy", "pyarrow", "pydantic", "sft_schema", "tokenizers"}


def printed(program: str) -> str:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import sft_data", set[str]()),
        ("from sft_data import Pace", set[str]()),
        ("from sft_data import prepare", OF_A_PREPARATION),
    ],
)
def test_importing_loads_only_what_the_name_needs(statement: str, allowed: set[str]) -> None:
    loaded = printed(f"{statement}\nimport sys\nprint(*sys.modules)").split()
    assert HEAVY & set(loaded) == allowed


@pytest.mark.parametrize(
    "first",
    [
        "import sft_data.prepare",
        "from sft_data.prepare import Prepared",
        "import sft_data.command.main",
        "import sft_data.collate",
    ],
)
def test_a_function_is_not_hidden_by_the_module_of_its_name(first: str) -> None:
    program = f"{first}\nfrom sft_data import collate, prepare\nprint(type(collate).__name__, type(prepare).__name__)"
    assert printed(program) == "function function"


def test_every_public_name_is_found_and_no_other() -> None:
    assert all(getattr(sft_data, name).__module__.startswith("sft_data.") for name in sft_data.__all__)
    assert set(sft_data.__all__) <= set(dir(sft_data))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = sft_data.nothing  # pyright: ignore[reportAttributeAccessIssue]
