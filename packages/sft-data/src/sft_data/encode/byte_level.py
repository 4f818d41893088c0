"""What a tokenizer.json says about a byte-level BPE tokenizer, when it is one that another encoder can stand in for."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

GPT2_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
"""What `ByteLevel` cuts a text with when its `use_regex` is on (Radford et al., 2019, encoder.py of GPT-2)."""


class Unserved(Exception):  # noqa: N818 - it is an answer, not a fault
    """Why an encoder does not serve a tokenizer, as a sentence without a subject."""


@dataclass(frozen=True, slots=True)
class ByteLevel:
    """A byte-level BPE tokenizer: text -> normal form -> added tokens cut out -> pieces of `pattern` -> merges.

    Attributes:
        vocabulary: bytes of each token to its id; added tokens only where they are tokens of the model too.
        merges: pairs of tokens' bytes in the order in which they are merged.
        whole_first: whether a piece that is a token becomes it without merging (`ignore_merges`).
        pattern: regular expression whose matches are the pieces.
        added: text of each added token to its id.
        careful: texts of added tokens that take the space around them, or that are matched otherwise than plainly.
        normal_form: whether texts are brought into NFC first.
        lengths: int32 `[largest id + 1]`, bytes of each token; 0 for ids that are none.
    """

    vocabulary: dict[bytes, int]
    merges: tuple[tuple[bytes, bytes], ...]
    whole_first: bool
    pattern: str
    added: dict[str, int]
    careful: tuple[str, ...]
    normal_form: bool
    lengths: NDArray[np.int32]


def read_byte_level(spec: dict[str, Any]) -> ByteLevel:
    """Reads the content of a tokenizer.json.

    Raises:
        Unserved: it is of another kind, or its offsets are not the lengths of its tokens.
    """
    pattern = _pattern(spec.get("pre_tokenizer"))
    normal_form = _is_nfc(spec.get("normalizer"))
    _require_plain_offsets(spec.get("post_processor"))
    model = cast("dict[str, Any]", spec["model"])
    odd = [key for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix") if model.get(key)]
    if model.get("type") != "BPE" or model.get("byte_fallback") or odd:
        raise Unserved(f"its model is {model.get('type')} with {odd or 'byte_fallback'}, not plain BPE")
    vocabulary = _vocabulary(model["vocab"])
    entries = cast("list[dict[str, Any]]", spec.get("added_tokens") or [])
    added = {str(entry["content"]): int(entry["id"]) for entry in entries}
    lengths = np.zeros(max([*vocabulary.values(), *added.values()]) + 1, dtype=np.int32)
    lengths[list(vocabulary.values())] = [len(token) for token in vocabulary]
    for text, number in added.items():
        lengths[number] = len(text.encode())
    return ByteLevel(
        vocabulary=vocabulary,
        merges=tuple(_merges(model["merges"])),
        whole_first=bool(model.get("ignore_merges")),
        pattern=pattern,
        added=added,
        careful=tuple(_careful(entries)),
        normal_form=normal_form,
        lengths=lengths,
    )


def _pattern(pre_tokenizer: Any) -> str:
    parts = [pre_tokenizer]
    if pre_tokenizer is not None and pre_tokenizer["type"] == "Sequence":
        parts = cast("list[Any]", pre_tokenizer["pretokenizers"])
    kinds = [None if part is None else str(part["type"]) for part in parts]
    if kinds not in (["ByteLevel"], ["Split", "ByteLevel"]):
        raise Unserved(f"its pre-tokeniser is {kinds}, not ByteLevel alone or after one Split")
    bytes_part = parts[-1]
    if bytes_part.get("add_prefix_space"):
        raise Unserved("its pre-tokeniser puts a space before the text")
    own = bytes_part.get("use_regex", True)
    if len(parts) == 1:
        if own:
            return GPT2_PATTERN
        raise Unserved("its pre-tokeniser has no pattern")
    split = parts[0]
    given = split["pattern"].get("Regex")
    if own or given is None or split["behavior"] != "Isolated" or split.get("invert"):
        raise Unserved(f"its pre-tokeniser cuts by {split['pattern']}, {split['behavior']}, in a way of its own")
    return given


def _is_nfc(normalizer: Any) -> bool:
    if normalizer is None:
        return False
    if normalizer.get("type") == "NFC":
        return True
    raise Unserved(f"its normaliser is {normalizer.get('type')}, not NFC or none")


def _require_plain_offsets(processor: Any) -> None:
    parts = [] if processor is None else cast("list[Any]", processor.get("processors", [processor]))
    for part in parts:
        if part["type"] not in ("ByteLevel", "TemplateProcessing") or part.get("trim_offsets"):
            raise Unserved(f"its post-processor {part['type']} moves offsets")


def _vocabulary(given: dict[str, int]) -> dict[bytes, int]:
    """The tokens in bytes; those with a character that stands for no byte are never made, and left out."""
    letters = byte_letters()
    table = str.maketrans({letter: chr(byte) for byte, letter in enumerate(letters)})
    alphabet = frozenset(letters)
    found = {
        token.translate(table).encode("latin-1"): number
        for token, number in given.items()
        if alphabet.issuperset(token)
    }
    if any(bytes([byte]) not in found for byte in range(256)):
        raise Unserved("its vocabulary lacks some of the 256 bytes")
    if len(set(found.values())) < len(found):
        raise Unserved("two of its tokens have one id")
    return found


def _merges(given: list[Any]) -> list[tuple[bytes, bytes]]:
    letters = byte_letters()
    table = str.maketrans({letter: chr(byte) for byte, letter in enumerate(letters)})
    pairs = (each.split(" ") if isinstance(each, str) else each for each in given)
    return [(a.translate(table).encode("latin-1"), b.translate(table).encode("latin-1")) for a, b in pairs]


def _careful(entries: list[dict[str, Any]]) -> list[str]:
    """Added tokens that are not matched by the plain rule: leftmost first, the longest of several."""
    mixed = len({bool(entry.get("normalized")) for entry in entries}) > 1
    found = [
        str(entry["content"])
        for entry in entries
        if any(entry.get(key) for key in ("lstrip", "rstrip", "single_word")) or (mixed and entry.get("normalized"))
    ]
    # of two tokens that begin alike the longer one is careful: a row without it knows no choice
    texts = sorted(str(entry["content"]) for entry in entries)
    return [*found, *(longer for shorter, longer in pairwise(texts) if longer.startswith(shorter))]


def byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary: itself when printable, else from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
