"""Tests each package with nothing but what it declares.

In the workspace environment every package sees every other's dependencies: an undeclared import passes.

    python tools/isolation.py source [packages]   from the checkout, in an environment of that package alone
    python tools/isolation.py wheels [packages]   from built wheels, in an environment outside the checkout

With `--python 3.12` another interpreter runs the tests, if this machine has one; none is downloaded.
From wheels, the outside projects in tests/consumers that need the package run as well.
Tests marked slow are left to the run of the whole suite. One line per package: what was done, and seconds.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TEST_NEEDS = ("pytest", "hypothesis")
TORCH_STACK = {"torch", "transformers", "peft", "accelerate", "triton"}

# What an environment made from a package's wheel must not hold; and all that it may hold, if that is little.
FORBIDDEN: Mapping[str, set[str]] = {
    "sft-schema": TORCH_STACK | {"numpy", "pyarrow", "datasets"},
    "sft-data": TORCH_STACK,
    "sft-kernels": {"sft-schema", "sft-data", "transformers", "peft", "accelerate", "pydantic", "numpy"},
}
ALLOWED: Mapping[str, set[str]] = {
    "sft-schema": {
        "sft-schema", "pyyaml", "pydantic", "pydantic-core",
        "annotated-types", "typing-extensions", "typing-inspection",
    },
}  # fmt: skip


class Package(NamedTuple):
    """A workspace member."""

    name: str
    folder: Path
    siblings: tuple[str, ...]  # declared dependencies that are workspace members too

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")


class IsolationError(Exception):
    """A command failed, or an environment holds what it must not; the message says which."""


def packages(root: Path) -> dict[str, Package]:
    """The workspace's members by name."""
    files = root.glob("packages/*/pyproject.toml")
    projects = {path.parent: tomllib.loads(path.read_text())["project"] for path in files}
    names = {project["name"] for project in projects.values()}
    found = {}
    for folder, project in sorted(projects.items()):
        declared = [required_name(text) for text in project.get("dependencies", [])]
        found[project["name"]] = Package(project["name"], folder, tuple(n for n in declared if n in names))
    return found


def required_name(requirement: str) -> str:
    """The normalised distribution name at the start of a requirement."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement.strip())
    if not match:
        raise IsolationError(f"{requirement!r} is not a requirement; it should begin with a distribution name")
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def with_siblings(package: Package, known: Mapping[str, Package]) -> list[Package]:
    """The package and every workspace member that it needs, directly or not."""
    ordered, waiting = [], [package]
    while waiting:
        current = waiting.pop()
        if current not in ordered:
            ordered.append(current)
            waiting += [known[name] for name in current.siblings]
    return ordered


def run(command: Iterable[str | Path], folder: Path) -> str:
    """Run a command outside of any environment; its output, or a failure that shows it."""
    words = [str(word) for word in command]
    inherited = {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "UV_PROJECT_ENVIRONMENT"}
    environment = {key: value for key, value in os.environ.items() if key not in inherited}
    environment.setdefault("OMP_NUM_THREADS", "1")  # two packages are tested at a time
    done = subprocess.run(
        words, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise IsolationError(
            f"`{' '.join(words)}` in {folder} exited with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def interpreter(version: str | None) -> str | None:
    """A Python of that version that is already on this machine: uv's or the system's, else pyenv's."""
    if version is None:
        return sys.executable
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    for command in (["uv", "python", "find", "--no-project", version], ["pyenv", "prefix", version]):
        if not shutil.which(command[0]):
            continue
        done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            path = done.stdout.strip()
            return f"{path}/bin/python" if command[0] == "pyenv" else path
    return None


def from_source(package: Package, python: str, quick: list[str]) -> str:
    needs = [word for need in TEST_NEEDS for word in ("--with", need)]
    command = ["uv", "run", "--quiet", "--isolated", "--python", python, "--package", package.name, *needs]
    tests = package.folder.relative_to(ROOT) / "tests"
    return last_line(run([*command, "pytest", tests, *quick], ROOT))


def from_wheel(package: Package, python: str, quick: list[str], known: Mapping[str, Package], built: Path) -> str:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        wheels = [next(built.glob(f"{member.module}-*.whl")) for member in with_siblings(package, known)]
        run(["uv", "venv", "--quiet", "--python", python, "env"], folder)
        # Explicit paths: an index may have an unrelated project of the same name.
        install = [
            "uv",
            "pip",
            "install",
            "--quiet",
            "--python",
            "env",
            "--constraints",
            built / "locked.txt",
        ]
        run([*install, *wheels], folder)
        judge(package, run(["uv", "pip", "freeze", "--python", "env"], folder).splitlines(), known)
        run(["env/bin/python", "-c", f"import {package.module}"], folder)
        for consumer in consumers(ROOT, package, known):
            run_consumer(consumer, folder, [*install, *wheels])
        run([*install, *TEST_NEEDS], folder)
        copied = folder / package.folder.name
        shutil.copytree(package.folder, copied, ignore=shutil.ignore_patterns("src", "__pycache__", ".*"))
        return last_line(run(["../env/bin/python", "-m", "pytest", "tests", *quick], copied))


def consumers(root: Path, package: Package, known: Mapping[str, Package]) -> list[Path]:
    """Folders of outside projects that need this member of the workspace and no other."""
    found = []
    for path in sorted(root.glob("tests/consumers/*/pyproject.toml")):
        declared = tomllib.loads(path.read_text())["project"]["dependencies"]
        if {required_name(text) for text in declared} & known.keys() == {package.name}:
            found.append(path.parent)
    return found


def run_consumer(consumer: Path, folder: Path, install: list[str | Path]) -> None:
    """Install a copy of an outside project into `folder`'s environment, beside the wheel, and run its module."""
    copied = folder / consumer.name
    shutil.copytree(consumer, copied, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    run([*install, copied], folder)
    run(["env/bin/python", "-m", consumer.name], folder)


def judge(package: Package, frozen: list[str], known: Mapping[str, Package]) -> None:
    """Refuse an environment with what it should not hold, or with a sibling that came from an index."""
    held = {required_name(line): line for line in frozen}
    if wrong := sorted(held.keys() & FORBIDDEN.get(package.name, set())):
        raise IsolationError(f"installing {package.name} brings in {wrong}; look for the dependency that needs it")
    if wrong := sorted(held.keys() - ALLOWED.get(package.name, held.keys())):
        raise IsolationError(f"installing {package.name} brings in {wrong}; if meant, add it to ALLOWED in {__file__}")
    if wrong := sorted(line for name, line in held.items() if name in known and " @ file:" not in line):
        raise IsolationError(f"{wrong} came from an index, not from the wheel built here")


def build(root: Path, folder: Path) -> None:
    """Build every package's sdist, from it the wheel; and write uv.lock's versions as constraints."""
    run(["uv", "build", "--quiet", "--all-packages", "--no-sources", "--out-dir", folder], root)
    export = ["uv", "export", "--quiet", "--frozen", "--all-packages", "--no-hashes", "--no-emit-workspace"]
    (folder / "locked.txt").write_text(run([*export, "--no-header", "--no-annotate"], root))


def last_line(output: str) -> str:
    return output.strip().splitlines()[-1].strip("= ")


def report(chosen: list[Package], label: str, one: Callable[[Package], str]) -> int:
    """Do one thing for every package, for two at a time, with those that have most tests first."""

    def line(package: Package) -> bool:
        began, passed = time.monotonic(), True
        try:
            outcome = one(package)
        except IsolationError as failure:
            passed, outcome = False, f"FAILED\n{failure}"
        print(f"{package.name} {label}: {outcome} [{time.monotonic() - began:.0f} s]", flush=True)
        return passed

    ordered = sorted(chosen, key=lambda package: -len([*package.folder.glob("tests/**/test_*.py")]))
    with ThreadPoolExecutor(2) as pool:
        return 0 if all([*pool.map(line, ordered)]) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["source", "wheels"])
    known = packages(ROOT)
    parser.add_argument("packages", nargs="*", metavar="package", help=f"of {', '.join(known)}; default all")
    parser.add_argument("--python", help="another version of Python, such as 3.12")
    parser.add_argument("--all", action="store_true", help="the tests marked slow as well")
    options = parser.parse_args()
    if unknown := sorted(set(options.packages) - known.keys()):
        parser.error(f"no package is called {unknown[0]!r}; there are {', '.join(known)}")
    chosen = [known[name] for name in options.packages or known]
    label = f"{options.part}, Python {options.python or f'{sys.version_info[0]}.{sys.version_info[1]}'}"
    python = interpreter(options.python)
    if python is None:
        for package in chosen:
            print(f"{package.name} {label}: SKIPPED, this machine has no such interpreter")
        return 0
    quick = ["-q", "--import-mode=importlib", "-p", "no:cacheprovider", *markers(ROOT)]
    quick += [] if options.all else ["-m", "not slow"]
    if options.part == "source":
        return report(chosen, label, lambda package: from_source(package, python, quick))
    with tempfile.TemporaryDirectory() as built:
        build(ROOT, Path(built))
        return report(chosen, label, lambda package: from_wheel(package, python, quick, known, Path(built)))


def markers(root: Path) -> list[str]:
    """Pytest options that declare the workspace's markers, which a copy of the tests is out of reach of."""
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    return ["-o", "markers=" + "\n".join(settings["markers"])]


if __name__ == "__main__":
    sys.exit(main())
