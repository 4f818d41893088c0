"""tools/lock.py: what it takes out of a lock, what it refuses, and that a neutral lock still pins versions.

The end-to-end test resolves against an index that it writes itself, two wheels in a folder, so it needs no network.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOST = "https://py" + "pi.org"
SAMPLE = f"""version = 1
[[package]]
name = "from-index"
version = "2.0"
source = {{ registry = "{HOST}/sim{"ple"}" }}
dependencies = [
    {{ name = "numpy", version = "2.4", source = {{ registry = "{HOST}/sim{"ple"}" }}, marker = "x" }},
]
sdist = {{ url = "https://files.example/a/b/from_index-2.0.tar.gz", hash = "sha256:aa", size = 1 }}
wheels = [
    {{ url = "https://files.example/a/from_index-2.0%2Bcu1-py3-none-any.whl", hash = "sha256:bb", size = 2 }},
]

[[package]]
name = "from-url-of-a-folder"
version = "1.0"
source = {{ registry = "file:///home/me/index" }}
wheels = [
    {{ url = "file:///home/me/index/files/from_url-1.0-py3-none-any.whl", hash = "sha256:cc" }},
]

[[package]]
name = "from-folder"
version = "1.0"
source = {{ registry = "../../mirror" }}
wheels = [
    {{ path = "../deep/from_folder-1.0-py3-none-any.whl", hash = "sha256:dd" }},
]

[[package]]
name = "a-member"
version = "0.1.0"
source = {{ editable = "packages/a-member" }}
"""


def load_lock():
    spec = importlib.util.spec_from_file_location("tools_lock", ROOT / "tools" / "lock.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lock = load_lock()


def test_neutralising_leaves_no_address_and_keeps_names_hashes_and_sizes():
    assert len(lock.addresses(SAMPLE)) == 8
    text = lock.neutral(SAMPLE)
    assert lock.addresses(text) == []
    assert lock.neutral(text) == text
    index, url, folder, member = tomllib.loads(text)["package"]
    for package in (index, url, folder):
        assert package["source"] == {"registry": "https://index.invalid/simple"}
    assert index["dependencies"][0]["source"] == {"registry": "https://index.invalid/simple"}
    assert index["sdist"] == {
        "url": "https://files.invalid/from_index-2.0.tar.gz", "hash": "sha256:aa", "size": 1,
    }  # fmt: skip
    assert index["wheels"][0]["url"] == "https://files.invalid/from_index-2.0%2Bcu1-py3-none-any.whl"
    assert folder["wheels"] == [{"url": "https://files.invalid/from_folder-1.0-py3-none-any.whl", "hash": "sha256:dd"}]
    assert member["source"] == {"editable": "packages/a-member"}


def test_addresses_are_reported_with_their_line():
    assert lock.addresses(SAMPLE)[0] == (5, f"{HOST}/sim" + "ple")


@pytest.mark.parametrize(
    "source", ['git = "https://git.example/x"', 'url = "https://files.example/x.whl"', 'directory = "/home/me/x"']
)
def test_a_dependency_on_an_address_is_reported_not_rewritten(source):
    line = f"source = {{ {source} }}"
    assert lock.neutral(line) == line
    assert len(lock.addresses(line)) == 1


def test_the_workspaces_lock_survives_neutralising():
    text = (ROOT / "uv.lock").read_text()
    neutral = lock.neutral(text)
    assert lock.addresses(neutral) == []
    assert len(tomllib.loads(neutral)["package"]) > 50
    assert lock.differences(neutral, text) == ([], [])


def test_the_committed_lock_names_no_index():
    if (text := lock.indexed(ROOT, "uv.lock")) is None:
        pytest.skip("not a git checkout that tracks uv.lock")
    assert lock.addresses(text) == []


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('version = "2.0"', 'version = "2.1"', "from-index 2.0 is locked, but resolving again does not choose it"),
        ("sha256:bb", "sha256:ee", "has hash sha256:ee, locked is sha256:bb"),
        ('name = "numpy"', 'name = "scipy"', "from-index 2.0: dependencies is"),
        ("from_folder-1.0-py3", "from_folder-1.0-cp311", "from-folder 1.0: none of its 1 locked files"),
    ],
)
def test_a_changed_resolution_is_refused(old, new, sentence):
    assert old in SAMPLE
    wrong, _ = lock.differences(lock.neutral(SAMPLE), SAMPLE.replace(old, new))
    assert any(sentence in line for line in wrong), wrong


def test_files_added_to_a_release_are_noted_and_not_refused():
    added = SAMPLE.replace(
        "wheels = [\n", 'wheels = [\n    { url = "https://files.example/new.whl", hash = "sha256:ff" },\n', 1
    )
    wrong, notes = lock.differences(lock.neutral(SAMPLE), added)
    assert wrong == []
    assert notes == ["from-index 2.0: this index has 1 files that the lock does not list"]


def write_wheel(folder: Path, version: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    info = f"tiny-{version}.dist-info"
    files = {
        "tiny.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": f"tiny.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
    }
    with zipfile.ZipFile(folder / f"tiny-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            # Without a date of its own, a file carries the time of writing: the bytes would change with the clock.
            wheel.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), text)


def write_index(folder: Path) -> str:
    """A package index of one project, `tiny`, in versions 1.0 and 2.0."""
    links = []
    for version in ("1.0", "2.0"):
        write_wheel(folder / "tiny", version)
        name = f"tiny-{version}-py3-none-any.whl"
        digest = hashlib.sha256((folder / "tiny" / name).read_bytes()).hexdigest()
        links.append(f'<a href="{name}#sha256={digest}">{name}</a>')
    (folder / "tiny" / "index.html").write_text("<!DOCTYPE html><html><body>" + "".join(links) + "</body></html>")
    return folder.as_uri()


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout of a project that needs `tiny`, with the tool, and an index beside it."""
    if shutil.which("uv") is None:
        pytest.skip("uv is not on PATH")
    monkeypatch.setenv("UV_DEFAULT_INDEX", write_index(tmp_path / "index"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    # Whatever of the outer environment would make uv look, or worse install, elsewhere than in the checkout.
    for name in ("VIRTUAL_ENV", "UV_PYTHON", "UV_PROJECT_ENVIRONMENT", "UV_INDEX", "UV_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "checkout"
    (root / "tools").mkdir(parents=True)
    (root / "wheels").mkdir()
    shutil.copy(ROOT / "tools" / "lock.py", root / "tools")
    (root / "pyproject.toml").write_text(
        '[project]\nname = "w"\nversion = "0"\nrequires-python = ">=3.11"\ndependencies = ["tiny"]\n'
        '[tool.uv]\npackage = false\nfind-links = ["wheels"]\n[tool.uv.workspace]\nmembers = ["packages/*"]\n'
    )
    run(root, "git", "init", "--quiet")
    return root


def run(root: Path, *command: str, expect: int = 0) -> str:
    done = subprocess.run(command, cwd=root, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


def run_tool(root: Path, *arguments: str, expect: int = 0) -> str:
    return run(root, sys.executable, "tools/lock.py", *arguments, expect=expect)


def test_a_neutral_lock_pins_versions_on_any_index_and_its_rewrite_is_refused(workspace, tmp_path, monkeypatch):
    run_tool(workspace, "lock", "--upgrade-package", "tiny==1.0")
    committed = (workspace / "uv.lock").read_text()
    assert "tiny-1.0-py3-none-any.whl" in committed
    assert lock.addresses(committed) == []
    run(workspace, "git", "add", "pyproject.toml", "uv.lock")

    # Another machine: its index is elsewhere, and offers 2.0 as well.
    monkeypatch.setenv("UV_DEFAULT_INDEX", write_index(tmp_path / "elsewhere"))
    run(workspace, "uv", "sync", "--quiet")
    assert run(workspace, "uv", "pip", "freeze", "--python", ".venv").split() == ["tiny==1.0"]
    assert "1 packages, each at the version of uv.lock" in run_tool(workspace, "installed")

    # uv has rewritten the copy on disk; the check reads what is committed, until somebody stages the rewrite.
    assert "elsewhere" in (workspace / "uv.lock").read_text()
    run_tool(workspace, "hosts")
    assert "resolving again gives the same" in run_tool(workspace, "--check")
    run(workspace, "git", "add", "uv.lock")
    assert "names an index or a path of one machine; run `make lock`" in run_tool(workspace, "hosts", expect=1)
    run_tool(workspace, "--check", expect=1)

    run_tool(workspace, "neutralise")
    assert lock.differences((workspace / "uv.lock").read_text(), committed) == ([], [])
    run(workspace, "git", "add", "uv.lock")
    run_tool(workspace, "--check")


def test_check_refuses_a_lock_that_lags_behind_its_project(workspace):
    run_tool(workspace, "lock")
    project = workspace / "pyproject.toml"
    project.write_text(project.read_text().replace('["tiny"]', '["tiny<2"]'))
    run(workspace, "git", "add", "pyproject.toml", "uv.lock")
    said = run_tool(workspace, "--check", expect=1)
    assert "tiny 2.0 is locked, but resolving again does not choose it; run `make lock`" in said


def test_check_refuses_a_hash_that_the_index_does_not_confirm(workspace):
    run_tool(workspace, "lock")
    path = workspace / "uv.lock"
    digest = tomllib.loads(path.read_text())["package"][0]["wheels"][0]["hash"]
    path.write_text(path.read_text().replace(digest, "sha256:" + "0" * 64))
    run(workspace, "git", "add", "pyproject.toml", "uv.lock")
    said = run_tool(workspace, "--check", expect=1)
    assert f"has hash {digest}, locked is sha256:000" in said


def test_installed_refuses_a_version_that_is_not_locked(workspace):
    run_tool(workspace, "lock")
    run(workspace, "git", "add", "pyproject.toml", "uv.lock")
    run(workspace, "uv", "sync", "--quiet")
    run(workspace, "uv", "pip", "install", "--quiet", "--python", ".venv", "tiny==1.0")
    assert "tiny 1.0 is installed, uv.lock has 2.0; run `uv sync`" in run_tool(workspace, "installed", expect=1)
