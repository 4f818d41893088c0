"""Opens a file for reading: local or remote, unpacked, always in bounded memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import tempfile
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from sft_data.optional import remote_errors, unpack_zstd, zstd_errors
from sft_data.source.file_kind import endings, refuse_other_kind
from sft_data.source.found import DamagedFileError
from sft_schema import DataError
from sft_schema.config import FileKind

_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a data set.

    Attributes:
        address: local path or full address, as messages show it.
        kind: what it holds.
        path: the same as its file system wants it.
        filesystem: an fsspec file system, or None for a local file.
    """

    address: str
    kind: FileKind
    path: str
    filesystem: Any | None = None

    def open_raw(self) -> BinaryIO:
        """The bytes as they are stored; raises one of `read_errors()`."""
        if self.filesystem is None:
            return open(self.path, "rb")
        if self.address.startswith("http"):  # as one stream: many servers cannot jump
            return cast(BinaryIO, io.BufferedReader(_Stream(self.filesystem.open(self.path, block_size=0)), _BUFFER))
        return cast(BinaryIO, io.BufferedReader(_Stream(self.filesystem.open(self.path, "rb")), _BUFFER))


class _Stream(io.RawIOBase):
    """What fsspec opens, as the raw stream that Python's own readers want."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Reads up to the buffer's length."""
        data: bytes = self._opened.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Closes what was opened."""
        if not self.closed:
            self._opened.close()
        super().close()


def read_errors() -> tuple[type[Exception], ...]:
    """What reading and unpacking can raise; remote stores have errors of their own."""
    return (OSError, EOFError, zlib.error, lzma.LZMAError, *zstd_errors(), *remote_errors())


@contextmanager
def open_text(file: SourceFile) -> Generator[BinaryIO]:
    """The unpacked bytes of a text file, buffered.

    Raises:
        DataError: it cannot be opened, or holds something else than its name says.
        DamagedFileError: by the caller, for what reading raises (`read_errors`).
    """
    with opened(file) as raw:
        unpacked = _unpacked(raw, endings(file.address)[1])
        try:
            refuse_other_kind(unpacked, file.address)
        except read_errors() as error:
            raise DamagedFileError(file.address, f"cannot be unpacked: {one_line(error)}") from None
        yield unpacked


@contextmanager
def open_binary(file: SourceFile) -> Generator[Any]:
    """A file that can be read at any place: local, remote, or a local copy of one that comes as a stream."""
    if endings(file.address)[1]:
        fix = f"unpack it; {file.kind} files are compressed inside"
        raise DataError("a packed file cannot be read at any place", where=file.address, fix=fix)
    if file.filesystem is not None and not file.address.startswith("http"):
        with opened(file, file.filesystem.open) as handle:
            yield handle
        return
    with opened(file) as raw:
        if file.filesystem is None:
            yield raw
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(raw, copy, _BUFFER)
            yield copy


@contextmanager
def opened(file: SourceFile, open_path: Callable[[str], Any] | None = None) -> Generator[BinaryIO]:
    """The stored bytes; an error at opening is a DataError."""
    try:
        raw = open_path(file.path) if open_path else file.open_raw()
    except read_errors() as error:
        fix = "check its permissions and address, and your login"
        raise DataError(f"cannot be read: {one_line(error)}", where=file.address, fix=fix) from None
    with raw:
        yield raw


@contextmanager
def reading(place: Callable[[], str]) -> Generator[None]:
    """Around reading: what stores and unpackers raise becomes a DamagedFileError at `place()`."""
    try:
        yield
    except read_errors() as error:
        raise DamagedFileError(place(), f"cannot be read any further: {one_line(error)}") from None


def one_line(error: BaseException) -> str:
    """The first line of an error, with its kind when it says nothing."""
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


def _unpacked(raw: BinaryIO, packed: str) -> BinaryIO:
    if packed == ".gz":
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if packed == ".bz2":
        return cast(BinaryIO, bz2.BZ2File(raw))
    if packed == ".xz":
        return cast(BinaryIO, lzma.LZMAFile(raw))
    if packed == ".zst":
        return cast(BinaryIO, io.BufferedReader(unpack_zstd(raw), _BUFFER))
    return raw
