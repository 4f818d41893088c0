from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sft_train.checkpoint.manifest import MANIFEST, differences, files_of, write_manifest

NAMES = st.sampled_from(["model.safetensors", "optimizer.pt", "inner/adapter.json", "empty"])
FOLDERS = st.dictionaries(NAMES, st.binary(max_size=40), min_size=1)


def fill(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


@given(files=FOLDERS)
def test_a_manifest_lists_every_file_with_its_size_and_hash(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, files)
        write_manifest(folder)
        assert differences(folder) == []
        listed = json.loads((folder / MANIFEST).read_text())["files"]
        assert listed == {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        }


@given(files=FOLDERS, data=st.data())
def test_any_other_content_is_a_difference_and_named(files: dict[str, bytes], data: st.DataObject) -> None:
    harmed = data.draw(st.sampled_from(sorted(files)))
    content = data.draw(st.one_of(st.none(), st.binary(max_size=40)).filter(lambda each: each != files[harmed]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, files)
        write_manifest(folder)
        if content is None:
            (folder / harmed).unlink()
        else:
            (folder / harmed).write_bytes(content)
        (problem,) = differences(folder)
        assert problem.startswith(harmed)
        same_size = content is not None and len(content) == len(files[harmed])
        assert differences(folder, contents=False) == ([] if same_size else [problem])


def test_a_manifest_of_another_shape_lists_nothing(tmp_path: Path) -> None:
    for text in ("", "{", '{"files": {}, "version": 2}', '{"files": {"a": {"bytes": -1, "sha256": "0"}}}'):
        (tmp_path / MANIFEST).write_text(text)
        assert files_of(tmp_path) == {}
        assert differences(tmp_path) == ["manifest.json cannot be read"]
