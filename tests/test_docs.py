"""What the documentation shows is true: its Python runs, its YAML is valid, its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sft_schema import parse_config

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")


def blocks(language: str) -> list[object]:
    found: list[object] = []
    for page in PAGES:
        for match in FENCE.finditer(page.read_text(encoding="utf-8")):
            if match[1] == language:
                name = (
                    f"{page.relative_to(ROOT)}:{page.read_text(encoding='utf-8')[: match.start()].count(chr(10)) + 1}"
                )
                found.append(pytest.param(match[2], id=name))
    return found


@pytest.mark.parametrize("code", blocks("python"))
def test_python_of_the_docs_runs(code: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_of_the_docs_is_a_valid_config_or_part_of_one(text: str) -> None:
    whole = text if "base_model:" in text else f"base_model: m\n{text}"
    whole = whole if "datasets:" in whole else f"{whole}\ndatasets: [{{path: a.jsonl}}]\n"
    parse_config(whole if "learning_rate:" in whole else f"{whole}\nlearning_rate: 1e-4\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_to_files(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_config_page_is_generated_from_the_code() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "config_page.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", sorted(ROOT.glob("examples/*.yaml")), ids=lambda file: file.name)
def test_every_example_is_a_valid_config(file: Path) -> None:
    parse_config(file.read_text(encoding="utf-8"), file=file.name)
