"""What a file holds, as its ending says, and what its first bytes say against that."""

from __future__ import annotations

from typing import BinaryIO

from sft_schema import DataError
from sft_schema.config import FileKind

KINDS: dict[str, FileKind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_SIGNATURES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
    b"SQLite format 3\x00": "SQLite",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x00\x00\xfe\xff": "UTF-32",
}


def endings(address: str) -> tuple[str, str]:
    """The ending that names the kind, and that of the compression: `("`.jsonl`", "`.gz`")` of `a.jsonl.gz`."""
    name = address.rstrip("/").rpartition("/")[2].lower()
    if "://" in address:
        name = name.partition("?")[0]
    packed = next((each for each in COMPRESSED if name.endswith(each)), "")
    stem, dot, ending = name.removesuffix(packed).rpartition(".")
    return (f"{dot}{ending}" if stem else ""), packed


def kind_of(address: str) -> FileKind | None:
    """The kind that the ending says, a compression set apart."""
    return KINDS.get(endings(address)[0])


def refuse_other_kind(handle: BinaryIO, address: str) -> None:
    """Raises DataError when text is expected and the first bytes belong to something else; reads nothing away."""
    head = getattr(handle, "peek")(16)[:16]  # noqa: B009
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            fix = {
                "UTF-16": "convert it to UTF-8",
                "UTF-32": "convert it to UTF-8",
                "Parquet": "name it .parquet, or set `ds_type: parquet`",
                "Arrow": "name it .arrow, or set `ds_type: arrow`",
                "gzip": "name it .gz after its own ending, such as rows.jsonl.gz",
                "bzip2": "name it .bz2 after its own ending",
                "xz": "name it .xz after its own ending",
                "zstd": "name it .zst after its own ending",
            }.get(name, "unpack it, or export its rows as .jsonl")
            raise DataError(f"begins like {name}, which its name does not say", where=address, fix=fix)
