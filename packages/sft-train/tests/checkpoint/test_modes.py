from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sft_train.checkpoint.modes import make_readable


@pytest.mark.parametrize(("umask", "wanted"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_files_get_the_permissions_of_new_files(tmp_path: Path, umask: int, wanted: int) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    file.chmod(0o600)
    (tmp_path / "folder").mkdir()
    before = os.umask(umask)
    try:
        make_readable(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == wanted
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "model.safetensors"]
