"""Prints a command block of the README, so that CI runs the very words that a reader sees.

A block is a fenced code block right after an HTML comment that names it:

    <!-- test-command -->
    ```sh
    uv run pytest
    ```

    python tools/readme.py test-command
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def block(text: str, name: str) -> str:
    """The lines of the named block, without the fences."""
    comment = rf"^<!-- {re.escape(name)} -->[ \t]*\n\s*"
    found = re.findall(comment + r"```[a-z]*[ \t]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    if len(found) != 1:
        raise SystemExit(
            f"README.md has {len(found)} blocks named {name!r}, expected 1; "
            f"put `<!-- {name} -->` on the line before the fenced block of the command"
        )
    return found[0]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python tools/readme.py NAME")
    print(block((ROOT / "README.md").read_text(), sys.argv[1]), end="")
