"""Pictures are found, proven to be pictures, and kept in files by their bytes."""

import base64
import http.server
import struct
import threading
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sft_data.row import RowError
from sft_data.vision import PictureReader, folder_of, open_picture
from sft_schema.config import DatasetConfig, PictureSection
from sft_schema.record import PictureSource
from sft_schema.testing.vision import write_png

pytestmark = pytest.mark.extra("PIL")


def reader(folder: Path, **limits: Any) -> PictureReader:
    return PictureReader(PictureSection(**limits), folder / "pictures")


def reason_of(value: str | bytes, folder: Path, **limits: Any) -> str:
    with pytest.raises(RowError) as caught:
        reader(folder, **limits).read(PictureSource(value, "picture 0"), folder)
    assert "picture 0" in caught.value.detail
    return caught.value.reason


@pytest.fixture
def red(tmp_path: Path) -> Path:
    return write_png(tmp_path / "red.png", 40, 30, (250, 0, 0))


def test_a_path_stays_where_it_is(red: Path, tmp_path: Path) -> None:
    picture, image = reader(tmp_path).read(PictureSource("red.png", "p"), tmp_path)
    assert picture.path == str(red)
    assert (image.size, image.mode) == ((40, 30), "RGB")
    assert image.getpixel((39, 0)) == (250, 0, 0)
    assert open_picture(picture).tobytes() == image.tobytes()
    assert not (tmp_path / "pictures").exists()


def test_bytes_get_one_file_for_the_same_bytes(red: Path, tmp_path: Path) -> None:
    raw = red.read_bytes()
    forms = [raw, "data:image/png;base64," + base64.b64encode(raw).decode()]
    found = [reader(tmp_path).read(PictureSource(each, "p"), tmp_path)[0] for each in forms]
    assert found[0] == found[1]
    assert Path(found[0].path).read_bytes() == raw
    assert len([each for each in (tmp_path / "pictures").rglob("*") if each.is_file()]) == 1


def test_what_cannot_be_used_has_its_reason(red: Path, tmp_path: Path) -> None:
    raw = red.read_bytes()
    assert reason_of("blue.png", tmp_path) == "missing_picture"
    assert reason_of(".", tmp_path) == "missing_picture"
    assert reason_of("s3://bucket/red.png", tmp_path) == "missing_picture"
    assert reason_of("a\0b", tmp_path) == "missing_picture"
    assert reason_of(b"no picture", tmp_path) == "unreadable_picture"
    assert reason_of(raw[:60], tmp_path) == "unreadable_picture"
    assert reason_of("data:image/png,abc", tmp_path) == "unreadable_picture"
    assert reason_of("data:image/png;base64,%", tmp_path) == "unreadable_picture"
    assert reason_of("red.png", tmp_path, max_image_pixels=1199) == "picture_too_large"
    assert reader(tmp_path, max_image_pixels=1200).read(PictureSource("red.png", "p"), tmp_path)


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    """60,000 x 60,000 pixels in a file of 100 bytes: over Pillow's own limit, and over ours."""
    small = write_png(tmp_path / "x.png", 1, 1, (1, 2, 3)).read_bytes()
    for side, reason in ((60_000, "unreadable_picture"), (9_100, "picture_too_large")):
        head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        bomb = small[:12] + head + struct.pack(">I", zlib.crc32(head)) + small[33:]
        assert reason_of(bomb, tmp_path) == reason


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server(red: Path) -> Iterator[str]:
    handler = partial(_Silent, directory=str(red.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_an_address_is_fetched_when_the_config_says_so(server: str, red: Path, tmp_path: Path) -> None:
    assert reason_of(f"{server}/red.png", tmp_path) == "picture_not_fetched"
    assert reason_of(f"{server}/blue.png", tmp_path, fetch_images=True) == "missing_picture"
    source = PictureSource(f"{server}/red.png", "p")
    picture, _ = reader(tmp_path, fetch_images=True).read(source, tmp_path)
    assert Path(picture.path).read_bytes() == red.read_bytes()


def test_a_picture_that_changed_is_refused(red: Path, tmp_path: Path) -> None:
    picture, _ = reader(tmp_path).read(PictureSource("red.png", "p"), tmp_path)
    write_png(red, 40, 30, (0, 250, 0))
    with pytest.raises(RowError, match="has changed since"):
        open_picture(picture)


def test_relative_paths_begin_at_the_folder_of_the_data(tmp_path: Path) -> None:
    def found(path: str, **settings: Any) -> Path:
        return folder_of(DatasetConfig(path=path, **settings))

    (tmp_path / "d").mkdir()
    assert found(str(tmp_path / "d" / "a.jsonl")) == tmp_path / "d"
    assert found(str(tmp_path / "d")) == tmp_path / "d"
    assert found(str(tmp_path / "d" / "*.jsonl")) == tmp_path / "d"
    assert found(str(tmp_path / "*" / "*.jsonl")) == tmp_path
    assert found(str(tmp_path / "d"), image_folder="elsewhere") == Path("elsewhere")
