"""lint-imports accepts the workspace, and refuses a copy of it in which a rule is broken."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VIOLATIONS = {
    "a lower layer imports a higher one": ("sft-data/src/sft_data/__init__.py", "import sft_train"),
    "data imports torch": ("sft-data/src/sft_data/__init__.py", "import torch"),
    "the schema imports transformers": ("sft-schema/src/sft_schema/__init__.py", "import transformers"),
    "kernels import the schema": ("sft-kernels/src/sft_kernels/__init__.py", "import sft_schema"),
    "kernels import numpy": ("sft-kernels/src/sft_kernels/__init__.py", "import numpy"),
    "a stage imports a stage": ("sft-data/src/sft_data/pack/__init__.py", "import sft_data.mask"),
}


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    sources = [str(path) for path in sorted(root.glob("packages/*/src"))]
    command = [
        Path(sys.executable).parent / "lint-imports",
        "--no-cache",
        "--config",
        root / "pyproject.toml",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sources)}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ROOT.glob("packages/*"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package / "src", tmp_path / "packages" / package.name / "src", ignore=ignore)
    return tmp_path


def test_the_workspace_keeps_its_layers():
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(("file", "statement"), VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_a_copy_that_breaks_a_rule_is_refused(copy, file, statement):
    path = copy / "packages" / file
    path.write_text(f"{path.read_text()}\n{statement}\n")
    result = lint(copy)
    assert result.returncode == 1, result.stderr
    broken = [line for line in result.stdout.splitlines() if " -> " in line]
    importer = Path(file).parts[2]
    assert any(importer in line and statement.split()[1].split(".")[0] in line for line in broken), result.stdout
