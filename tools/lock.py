"""Keeps uv.lock free of any index's address: lock, neutralise, check.

A lock that names the index it was made from sends everybody to that index. This one holds the versions
and hashes alone: every registry is `https://index.invalid/simple` and every file
`https://files.invalid/<file name>`. A plain `uv sync` finds that no index of its user's matches, resolves
again against the user's own, and keeps every pinned version. It also rewrites uv.lock on disk with the
addresses it found; those must not be committed.

    python tools/lock.py lock [arguments of uv lock]  resolve as `uv lock` does, write the neutral lock
    python tools/lock.py neutralise                   take the addresses out of uv.lock on disk
    python tools/lock.py hosts                        check that the lock in the git index holds no address
    python tools/lock.py --check                      the same, and that it is what resolving again gives
    python tools/lock.py installed                    check that .venv holds the lock's versions

The checks read the git index, which is the last commit plus what is staged: never the copy that `uv sync`
rewrote.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
INDEX = "https://index.invalid/simple"
FILES = "https://files.invalid"
FIX = "run `make lock` and stage uv.lock"

_REGISTRY = re.compile(r'\bregistry = "[^"]*"')
# A `source = { url = ... }` is a dependency on that very address: it is reported, not rewritten.
_FILE = re.compile(r'(?<!source = \{ )\b(?:url|path) = "(?:[^"]*/)?([^"/]+)"')
_QUOTED = re.compile(r'"([^"\n]*)"')
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*://|\.\./|/|~|[A-Za-z]:[\\/]")

Package = Mapping[str, Any]


def neutral(text: str) -> str:
    """The lock's text with every index and file address replaced; file names, hashes and sizes stay."""
    text = _REGISTRY.sub(f'registry = "{INDEX}"', text)
    return _FILE.sub(lambda match: f'url = "{FILES}/{match[1]}"', text)


def addresses(text: str) -> list[tuple[int, str]]:
    """Line and value of every string that points out of the project: a URL, or a path that leaves it."""
    return [
        (number, value)
        for number, line in enumerate(text.splitlines(), start=1)
        for value in _QUOTED.findall(line)
        if _ELSEWHERE.match(value) and value != INDEX and not value.startswith(f"{FILES}/")
    ]


def differences(committed: str, resolved: str) -> tuple[list[str], list[str]]:
    """What makes the committed lock wrong, and what is merely worth knowing, one sentence each."""
    ours, theirs = _packages(committed), _packages(neutral(resolved))
    wrong: list[str] = []
    notes: list[str] = []
    for key in sorted(ours.keys() - theirs.keys()):
        wrong.append(f"{_name(key)} is locked, but resolving again does not choose it")
    for key in sorted(theirs.keys() - ours.keys()):
        wrong.append(f"{_name(key)} is not locked, but resolving again chooses it")
    for key in sorted(ours.keys() & theirs.keys()):
        for part in sorted((ours[key].keys() | theirs[key].keys()) - {"sdist", "wheels"}):
            if ours[key].get(part) != theirs[key].get(part):
                wrong.append(f"{_name(key)}: {part} is {ours[key].get(part)}, now {theirs[key].get(part)}")
        more_wrong, more_notes = _file_differences(_name(key), _hashes(ours[key]), _hashes(theirs[key]))
        wrong += more_wrong
        notes += more_notes
    return wrong, notes


def _file_differences(name: str, ours: dict[str, str], theirs: dict[str, str]) -> tuple[list[str], list[str]]:
    changed = [
        f"{name}: {file} has hash {theirs[file]}, locked is {ours[file]}"
        for file in sorted(ours.keys() & theirs.keys())
        if ours[file] != theirs[file]
    ]
    if ours and theirs and not ours.keys() & theirs.keys():
        changed.append(f"{name}: none of its {len(ours)} locked files is on this index")
    # Publishers add wheels to a released version, and mirrors may carry some of them: neither changes
    # what was locked.
    notes = []
    if extra := len(theirs.keys() - ours.keys()):
        notes.append(f"{name}: this index has {extra} files that the lock does not list")
    if missing := len(ours.keys() - theirs.keys()):
        notes.append(f"{name}: this index lacks {missing} files that the lock lists")
    return changed, notes


def _packages(text: str) -> dict[tuple[str, str], Package]:
    packages = tomllib.loads(text).get("package", [])
    return {(package["name"], package.get("version", "")): package for package in packages}


def _name(key: tuple[str, str]) -> str:
    return " ".join(key).strip()


def _hashes(package: Package) -> dict[str, str]:
    files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
    return {unquote(file["url"].rpartition("/")[2]): file.get("hash", "") for file in files}


def resolve(projects: Mapping[str, str], lock: str | None, *arguments: str) -> str:
    """Resolve in a copy that has the pyproject files alone: no local wheel gets in, nothing is rewritten."""
    with tempfile.TemporaryDirectory() as folder:
        files = {**projects, **({"uv.lock": lock} if lock is not None else {})}
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        Path(folder, "wheels").mkdir()
        environment = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
        command = ["uv", "lock", "--quiet", *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"`{' '.join(command)}` failed:\n{done.stderr}")
        return Path(folder, "uv.lock").read_text()


def indexed(root: Path, path: str) -> str | None:
    """A file as the git index has it; None if it is not tracked, or if there is no repository."""
    done = subprocess.run(["git", "show", f":./{path}"], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def checked_lock(root: Path) -> str:
    """The lock to check: the one in the git index, or the one on disk where git has none."""
    if (text := indexed(root, "uv.lock")) is not None:
        return text
    path = root / "uv.lock"
    if not path.exists():
        raise SystemExit(f"there is no uv.lock in {root}; {FIX}")
    return path.read_text()


def project_files(root: Path, *, staged: bool) -> dict[str, str]:
    """The text of the workspace's pyproject files, by relative path."""
    texts = {}
    for path in _project_paths(root):
        name = path.relative_to(root).as_posix()
        on_disk = path.read_text()
        texts[name] = (indexed(root, name) or on_disk) if staged else on_disk
    return texts


def _project_paths(root: Path) -> Iterator[Path]:
    top = root / "pyproject.toml"
    yield top
    for pattern in tomllib.loads(top.read_text())["tool"]["uv"]["workspace"]["members"]:
        yield from sorted(root.glob(f"{pattern}/pyproject.toml"))


def check_hosts(root: Path) -> int:
    found = addresses(checked_lock(root))
    for number, value in found[:3]:
        print(f"uv.lock:{number}: {value!r} names an index or a path of one machine; {FIX}")
    if len(found) > 3:
        print(f"uv.lock: and {len(found) - 3} more")
    return 1 if found else 0


def check(root: Path) -> int:
    if check_hosts(root):
        return 1
    committed = checked_lock(root)
    wrong, notes = differences(committed, resolve(project_files(root, staged=True), committed))
    for sentence in notes:
        print(f"uv.lock: note: {sentence}")
    for sentence in wrong:
        print(f"uv.lock: {sentence}; {FIX}")
    if not wrong:
        print(f"uv.lock: {len(_packages(committed))} packages, no index named, resolving again gives the same")
    return 1 if wrong else 0


def check_installed(root: Path) -> int:
    locked: dict[str, set[str]] = {}
    for name, version in _packages(checked_lock(root)):
        locked.setdefault(name, set()).add(version)
    environment = os.environ.get("UV_PROJECT_ENVIRONMENT", ".venv")
    command = ["uv", "pip", "freeze", "--python", environment]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"`{' '.join(command)}` failed in {root}; run `uv sync` first\n{done.stderr}")
    installed = [line.split("==") for line in done.stdout.splitlines() if "==" in line]
    wrong = [(name, version) for name, version in installed if version not in locked.get(name, set())]
    for name, version in wrong:
        wanted = " or ".join(sorted(locked.get(name, {"nothing of that name"})))
        print(f"{name} {version} is installed, uv.lock has {wanted}; run `uv sync`")
    if not wrong:
        print(f".venv: {len(installed)} packages, each at the version of uv.lock")
    return 1 if wrong or not installed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", choices=["lock", "neutralise", "hosts", "installed"])
    parser.add_argument("--check", action="store_true", help="check the committed lock")
    options, rest = parser.parse_known_args()
    if rest and options.command != "lock":
        parser.error(f"unrecognised arguments: {' '.join(rest)}")
    path = ROOT / "uv.lock"
    if options.check:
        return check(ROOT)
    if options.command == "hosts":
        return check_hosts(ROOT)
    if options.command == "installed":
        return check_installed(ROOT)
    if options.command is None:
        parser.error("say lock, neutralise, hosts, installed or --check")
    text = path.read_text() if path.exists() else None
    if options.command == "lock":
        text = resolve(project_files(ROOT, staged=False), text, *rest)
    elif text is None:
        parser.error("there is no uv.lock to neutralise; say lock")
    path.write_text(neutral(text or ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
