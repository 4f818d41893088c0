"""Pictures as rows name them, to files on this machine that are proven to be pictures.

"cat.png"                          data/cat.png, where it is
bytes, base64, data:, https://     dataset_prepared_path/pictures/8c/8c1f...: one file for the same bytes
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from sft_data.optional import import_pillow, open_filesystem, remote_errors
from sft_data.row import RowError
from sft_schema.config import DatasetConfig, PictureSection
from sft_schema.record import Picture, PictureSource

_MOST_BYTES = 256 * 2**20
"""Largest image file: it is read whole."""


class PictureReader:
    """Reads pictures and proves that they can be decoded.

    Args:
        cfg: limits, and whether addresses are fetched.
        kept: folder for pictures that are in no file of their own; made when the first one comes.
    """

    def __init__(self, cfg: PictureSection, kept: Path) -> None:
        self._cfg, self._kept = cfg, kept

    def read(self, source: PictureSource, folder: Path) -> tuple[Picture, Any]:
        """The picture's file, and the decoded picture (`PIL.Image`, RGB).

        Args:
            source: as the row names it.
            folder: what a relative path begins at.

        Raises:
            RowError: `missing_picture`, `unreadable_picture`, `picture_too_large`, or `picture_not_fetched` for an
                address without `fetch_images`.
        """
        raw, path = self._bytes(source, folder)
        digest = _digest(raw)
        picture = decode(raw, self._cfg.max_image_pixels, source.what)
        return Picture(str(path or self._keep(raw, digest)), digest), picture

    def _bytes(self, source: PictureSource, folder: Path) -> tuple[bytes, Path | None]:
        value = source.value
        if isinstance(value, bytes):
            return value, None
        if value.startswith("data:"):
            return _of_data_address(value, source.what), None
        if value.startswith(("http://", "https://")):
            return self._fetched(value, source.what), None
        if "://" in value:
            detail = f"{source.what} is at {value!r}: pictures are read from files and from http(s)://"
            raise RowError("missing_picture", detail)
        path = (folder / value).absolute()
        return _file(path, source.what), path

    def _fetched(self, address: str, what: str) -> bytes:
        if not self._cfg.fetch_images:
            detail = f"{what} is at {address!r}, and `fetch_images: true` is not set"
            raise RowError("picture_not_fetched", detail)
        filesystem, path = open_filesystem(address)
        try:
            with filesystem.open(path, "rb") as handle:
                raw: bytes = handle.read(_MOST_BYTES + 1)
        except (OSError, ValueError, TimeoutError, *remote_errors()) as error:
            raise RowError("missing_picture", f"{what}: {address!r} cannot be fetched: {error}") from None
        return _limited(raw, what)

    def _keep(self, raw: bytes, digest: str) -> Path:
        """Writes the bytes to a file of their own, whole or not at all."""
        path = (self._kept / digest[:2] / digest).absolute()
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            number, unfinished = tempfile.mkstemp(prefix=f".{digest}-", dir=path.parent)
            with os.fdopen(number, "wb") as handle:
                handle.write(raw)
            Path(unfinished).chmod(0o644)
            Path(unfinished).rename(path)
        return path


def folder_of(cfg: DatasetConfig) -> Path:
    """Where relative paths of a data set's pictures begin: `image_folder`, else the folder of its files."""
    if cfg.image_folder is not None:
        return Path(cfg.image_folder)
    path = Path(cfg.path)
    while any(letter in str(path) for letter in "*?["):
        path = path.parent
    return path if path.is_dir() else path.parent


def open_picture(picture: Picture) -> Any:
    """The decoded picture (`PIL.Image`, RGB) of a file that has been read before.

    Raises:
        RowError: `missing_picture`, or `picture_changed` when the file has other bytes than when data were prepared.
    """
    raw = _file(Path(picture.path), "the picture")
    if _digest(raw) != picture.digest:
        raise RowError("picture_changed", f"{picture.path} has changed since the data were prepared")
    return decode(raw, None, picture.path)


def decode(raw: bytes, most_pixels: int | None, what: str) -> Any:
    """The picture in an image file's bytes (`PIL.Image`), upright and in RGB.

    The size is judged by the file's header, before anything is decoded.

    Args:
        raw: the file.
        most_pixels: limit of width times height; None for a picture that has been judged before.
        what: which picture, for messages.

    Raises:
        RowError: `unreadable_picture` or `picture_too_large`.
    """
    image, operations = import_pillow()
    try:
        opened = image(raw)
        width, height = opened.size
        if most_pixels is not None and width * height > most_pixels:
            detail = f"{what} has {width} x {height} pixels, and max_image_pixels is {most_pixels}"
            raise RowError("picture_too_large", detail)
        return operations.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError, OverflowError) as error:
        raise RowError("unreadable_picture", f"{what}: {error}") from None


def _file(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as handle:
            return _limited(handle.read(_MOST_BYTES + 1), what)
    except FileNotFoundError:
        raise RowError("missing_picture", f"{what}: there is no file {str(path)!r}") from None
    except (OSError, ValueError) as error:
        raise RowError("missing_picture", f"{what}: {str(path)!r} cannot be read: {error}") from None


def _limited(raw: bytes, what: str) -> bytes:
    if len(raw) > _MOST_BYTES:
        raise RowError("picture_too_large", f"{what} is a file of more than {_MOST_BYTES >> 20} MB")
    return raw


def _of_data_address(address: str, what: str) -> bytes:
    head, _, body = address.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError("it is not marked as base64")
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RowError("unreadable_picture", f"{what} is a data: address that cannot be read: {error}") from None


def _digest(raw: bytes) -> str:
    return hashlib.blake2b(raw, digest_size=16).hexdigest()
