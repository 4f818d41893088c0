"""Refuses files and functions that have grown too long, and names that say nothing.

The tail is what readers of a codebase suffer from, so the limits are hard: 400 lines in a file (600 in a
file of sft_kernels that imports triton), 60 in a function (150 in one compiled by triton.jit). A
function's docstring does not count, nor do its decorators. No module or folder is called after utils,
helpers or a manager: such names collect what belongs elsewhere.

    python tools/sizes.py --check [paths]    by default every Python file that git tracks or would add
    python tools/sizes.py                    the longest files and functions
"""

import argparse
import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FILE_LIMIT, TRITON_FILE_LIMIT = 400, 600
FUNCTION_LIMIT, TRITON_FUNCTION_LIMIT = 60, 150
EMPTY_WORDS = {"util", "utils", "helper", "helpers", "manager", "managers"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Size(NamedTuple):
    """Something with a length: a file, or a function in it."""

    path: Path
    line: int
    what: str
    lines: int
    limit: int


def sizes(path: Path, source: str) -> Iterator[Size]:
    """The file's size, then that of each function in it, nested ones included."""
    tree = ast.parse(source, filename=str(path))
    triton = "sft_kernels" in path.parts and _imports_triton(tree)
    yield Size(path, 1, "file", len(source.splitlines()), TRITON_FILE_LIMIT if triton else FILE_LIMIT)
    for node in ast.walk(tree):
        if isinstance(node, Function):
            limit = TRITON_FUNCTION_LIMIT if _is_triton_jit(node) else FUNCTION_LIMIT
            yield Size(path, node.lineno, f"function {node.name}", _lines(node), limit)


def empty_names(path: Path) -> list[str]:
    """The parts of a path that are named after utils, helpers or a manager."""
    return [part for part in path.with_suffix("").parts if set(part.lower().split("_")) & EMPTY_WORDS]


def problems(root: Path, paths: list[Path]) -> Iterator[str]:
    for path in paths:
        shown = path.relative_to(root) if path.is_relative_to(root) else path
        for name in empty_names(shown):
            yield f"{shown}:1: {name!r} says nothing about what is in it; name it after that"
        for size in sizes(shown, path.read_text()):
            if size.lines > size.limit:
                over = f"{size.what} has {size.lines} lines, limit {size.limit}"
                yield f"{shown}:{size.line}: {over}; split it by what it does"


def tracked(root: Path) -> list[Path]:
    """Every Python file under root that git tracks or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.py"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    return [path for name in sorted(listed.split("\0")) if name and (path := root / name).exists()]


def _lines(node: Function) -> int:
    first, last = node.lineno, node.end_lineno or node.lineno
    doc = node.body[0]
    documented = isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant) and isinstance(doc.value.value, str)
    return last - first + 1 - ((doc.end_lineno or doc.lineno) - doc.lineno + 1 if documented else 0)


def _imports_triton(tree: ast.Module) -> bool:
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return any(name.split(".")[0] == "triton" for name in names)


def _is_triton_jit(node: Function) -> bool:
    called = [item.func if isinstance(item, ast.Call) else item for item in node.decorator_list]
    return any(ast.unparse(item) == "triton.jit" for item in called)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 if something is over its limit")
    parser.add_argument("paths", nargs="*", type=Path)
    options = parser.parse_args()
    paths = [path.resolve() for path in options.paths] or tracked(ROOT)
    if options.check:
        found = list(problems(ROOT, paths))
        print(*found, sep="\n", end="\n" if found else "")
        print(f"sizes: {len(paths)} files, {len(found)} problems")
        return 1 if found else 0
    measured = [size for path in paths for size in sizes(path, path.read_text())]
    for size in sorted(measured, key=lambda size: size.lines / size.limit, reverse=True)[:15]:
        print(f"{size.lines:4} of {size.limit}  {size.path.relative_to(ROOT)}:{size.line} {size.what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
