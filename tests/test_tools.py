"""The gates of CI, run on what they must refuse."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Joined from pieces, or tools/hosts.py would refuse this file.
INDEX_HOST = "py" + "pi.org"
INDEX_URL = f"https://{INDEX_HOST}/sim" + "ple"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hosts, isolation, readme, sizes = (load(name) for name in ("hosts", "isolation", "readme", "sizes"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    return tmp_path


def add(repository: Path, name: str, text: str) -> None:
    path = repository / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    subprocess.run(["git", "add", name], cwd=repository, check=True)


def tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools" / f"{name}.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def function(lines: int, docstring: str = "", decorator: str = "") -> str:
    """A function of that many lines, docstring and decorator not counted."""
    body = [f'    """{docstring}"""'] if docstring else []
    return "\n".join([*([decorator] if decorator else []), "def f(x):", *body, *["    x += 1"] * (lines - 1)]) + "\n"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("long.py", "x = 1\n" * 401, "long.py:1: file has 401 lines, limit 400"),
        ("f.py", "\n\n" + function(61), "f.py:3: function f has 61 lines, limit 60"),
        ("f.py", function(151, decorator="@triton.jit"), "f.py:2: function f has 151 lines, limit 150"),
        ("f.py", function(61, decorator="@functools.cache"), "limit 60"),
        ("sft_kernels/op.py", "import triton.language as tl\n" * 601, "op.py:1: file has 601 lines, limit 600"),
        ("sft_data/op.py", "import triton\n" * 401, "op.py:1: file has 401 lines, limit 400"),
        ("data_utils.py", "", "data_utils.py:1: 'data_utils' says nothing"),
        ("helpers/tokens.py", "", "helpers/tokens.py:1: 'helpers' says nothing"),
        ("manager.py", "", "manager.py:1: 'manager' says nothing"),
    ],
)
def test_sizes_refuses_what_is_over_its_limit(tmp_path, name, text, problem):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    (found,) = sizes.problems(tmp_path, [path])
    assert problem in found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("exact.py", "x = 1\n" * 400),
        ("f.py", function(60, docstring="One.\n\n" + "    More.\n" * 100)),
        ("f.py", function(150, decorator="@triton.jit")),
        ("f.py", function(150, decorator="@triton.jit(do_not_specialize=['n'])")),
        ("sft_kernels/op.py", "import triton\n" * 600),
        ("management.py", ""),
    ],
)
def test_sizes_accepts_what_is_at_its_limit(tmp_path, name, text):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert list(sizes.problems(tmp_path, [path])) == []


def test_sizes_exits_by_what_it_found(tmp_path):
    path = tmp_path / "long.py"
    path.write_text("x = 1\n" * 401)
    refused = tool("sizes", "--check", path)
    assert refused.returncode == 1
    assert "long.py:1: file has 401 lines, limit 400; split it by what it does" in refused.stdout
    path.write_text("x = 1\n")
    assert tool("sizes", "--check", path).returncode == 0


@pytest.mark.parametrize(
    "text",
    [
        f'index = "{INDEX_URL}"\n',
        f"pip install from {INDEX_HOST.upper()}\n",
        "see files.pythonhosted" + ".org/packages/x.whl\n",
        "--index-url https://mirror.example/repository/sim" + "ple/\n",
        f'registry = "https://index.invalid/simple" # was {INDEX_URL}\n',
    ],
)
def test_hosts_refuses_a_tracked_file_that_names_an_index(repository, text):
    add(repository, "docs/install.md", f"# Install\n{text}")
    result = tool("hosts", repository)
    assert result.returncode == 1
    assert result.stdout.startswith("docs/install.md:2:")


def test_hosts_accepts_the_neutral_lock_and_ignores_untracked_files(repository):
    add(repository, "uv.lock", 'source = { registry = "https://index.invalid/simple" }\n')
    add(repository, "README.md", "A simple/plain project: see https://example.org/simplest\n")
    (repository / "scratch.txt").write_text(INDEX_URL)
    assert hosts.hits(repository) == []


def test_this_checkout_names_no_index():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    assert hosts.hits(ROOT) == []


def test_readme_prints_the_block_that_the_comment_names():
    text = "# sft\n\n<!-- test-command -->\n```sh\nuv sync\nuv run pytest\n```\n\n```sh\nother\n```\n"
    assert readme.block(text, "test-command") == "uv sync\nuv run pytest\n"


@pytest.mark.parametrize(
    ("text", "count"),
    [("```sh\nuv run pytest\n```\n", 0), ("<!-- test-command -->\n```sh\nx\n```\n" * 2, 2)],
)
def test_readme_refuses_a_block_that_is_missing_or_ambiguous(text, count):
    with pytest.raises(SystemExit, match=f"README.md has {count} blocks named 'test-command', expected 1"):
        readme.block(text, "test-command")


def test_isolation_knows_the_packages_and_their_siblings():
    known = isolation.packages(ROOT)
    assert sorted(known) == ["sft-cli", "sft-data", "sft-kernels", "sft-schema", "sft-train"]
    assert known["sft-kernels"].siblings == ()
    needed = isolation.with_siblings(known["sft-data"], known)
    assert [package.name for package in needed] == ["sft-data", "sft-schema"]


@pytest.mark.parametrize(
    ("name", "frozen", "problem"),
    [
        ("sft-data", ["numpy==2.4.6", "torch==2.15.0"], r"installing sft-data brings in \['torch'\]"),
        ("sft-schema", ["PyYAML==6.0.3", "requests==2.34.0"], r"\['requests'\]; if meant, add it to ALLOWED"),
        ("sft-data", ["sft-schema==0.1.0"], r"\['sft-schema==0.1.0'\] came from an index"),
        ("sft-cli", ["sft_data @ https://mirror.example/sft_data-0.1.0.whl"], "came from an index"),
    ],
)
def test_isolation_refuses_an_environment_with_foreign_packages(name, frozen, problem):
    known = isolation.packages(ROOT)
    with pytest.raises(isolation.IsolationError, match=problem):
        isolation.judge(known[name], frozen, known)


def test_isolation_runs_the_outside_projects_of_a_package():
    known = isolation.packages(ROOT)
    found = {name: [folder.name for folder in isolation.consumers(ROOT, known[name], known)] for name in known}
    assert found == {name: ["kernels_only"] if name == "sft-kernels" else [] for name in known}


def test_isolation_accepts_an_environment_of_what_is_declared():
    known = isolation.packages(ROOT)
    wheel = "sft-schema @ file:///builds/sft_schema-0.1.0-py3-none-any.whl"
    isolation.judge(known["sft-schema"], [wheel, "pydantic==2.13.4", "pyyaml==6.0.3"], known)


def test_isolation_says_when_an_interpreter_is_missing():
    result = tool("isolation", "source", "sft-schema", "--python", "3.99")
    assert result.returncode == 0
    assert result.stdout.startswith("sft-schema source, Python 3.99: SKIPPED, this machine has no such")


def test_isolation_refuses_an_unknown_package():
    result = tool("isolation", "source", "sft-nothing")
    assert result.returncode == 2
    assert "no package is called 'sft-nothing'; there are sft-cli, sft-data" in result.stderr
