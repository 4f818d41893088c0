"""Refuses tracked files that name a package index: which one to use is for each user to configure.

python tools/hosts.py [folder]    every file in the folder's git index, uv.lock included; exit 1 on a hit
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Joined from pieces, or this file would be the first hit.
HOSTS = [
    ".".join(pieces)
    for pieces in [
        ("pypi", "org"),
        ("pypi", "python", "org"),
        ("pythonhosted", "org"),
        ("download", "pytorch", "org"),
        ("pypi", "nvidia", "com"),
        ("conda", "anaconda", "org"),
        ("registry", "npmjs", "org"),
        ("proxy", "golang", "org"),
    ]
]
# Any index of the kind that pip and uv read, whatever its host.
SIMPLE_INDEX = "[a-z]+://[^ ]+/" + "simple([^a-z]|$)"
NAMED = "|".join([*map(re.escape, HOSTS), SIMPLE_INDEX])
# The lock's stand-in: names under .invalid never resolve (RFC 2606).
NEUTRAL = re.compile(r"https://index\.invalid/[a-z]+")


def hits(root: Path) -> list[str]:
    """`file:line:text` of each line in the git index that names a package index."""
    command = ["git", "grep", "--cached", "-n", "-I", "-i", "-E", "-e", NAMED]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"`git grep` failed in {root}: {done.stderr.strip()}")
    named = re.compile(NAMED, re.IGNORECASE)
    return [line for line in done.stdout.splitlines() if named.search(NEUTRAL.sub("", line))]


def main() -> int:
    root = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT
    found = hits(root)
    for line in found[:20]:
        print(f"{line[:200]}\n    names a package index; leave it to the user's own uv or pip configuration")
    if len(found) > 20:
        print(f"and {len(found) - 20} more lines")
    print(f"hosts: {len(found)} lines name a package index")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
