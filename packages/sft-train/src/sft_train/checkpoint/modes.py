"""File permissions of what is saved."""

from __future__ import annotations

import tempfile
from pathlib import Path


def make_readable(folder: Path) -> None:
    """Gives the files in a folder and in those below it the permissions that a new file would have.

    safetensors are written readable by their owner alone, whatever the umask, and a server under another user
    could not load the model.
    """
    with tempfile.TemporaryDirectory(dir=folder) as inner:
        fresh = Path(inner) / "mode"
        fresh.touch()  # asking for the umask itself would change it for a moment, for all threads
        mode = fresh.stat().st_mode & 0o777
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)
