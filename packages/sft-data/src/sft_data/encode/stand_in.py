"""tiktoken in the place of a byte-level BPE tokenizer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sft_data.encode.byte_level import ByteLevel, Unserved
from sft_data.encode.offsets import with_offsets
from sft_data.encode.probe import PROVEN_BELOW
from sft_data.encoding import Encoded
from sft_data.optional import tiktoken_encoding

_BETWEEN = "\x00\x1frow\x1f\x00"
"""Stands between texts that are encoded in one call; tiktoken cuts a text at it as at any special token."""

_LEADS = tuple(bytes([lead]) for lead in range(0xF0, 0xF5))
_UNPROVEN = re.compile(f"[{chr(PROVEN_BELOW)}-\U0010ffff]")


def tiktoken_of(name: str, pattern: str, vocabulary: dict[bytes, int], special: dict[str, int]) -> Any:
    """A `tiktoken.Encoding`; raises Unserved when tiktoken is not installed."""
    encoding = tiktoken_encoding(name, pattern, vocabulary, special)
    if encoding is None:
        raise Unserved("tiktoken is not installed; `sft-data[tiktoken]` brings it")
    return encoding


def measurable(text: str, facts: ByteLevel) -> bool:
    """Whether the tokens' bytes make up the text: it is in normal form, and no added token takes space with it."""
    if facts.normal_form and not text.isascii() and not unicodedata.is_normalized("NFC", text):
        return False
    return not any(token in text for token in facts.careful)


@dataclass(frozen=True, slots=True)
class StandIn:
    """Encodes texts as a tokenizer does that it was proven equal to; see `proof.py`.

    Attributes:
        facts: the tokenizer.
        encoding: a `tiktoken.Encoding`, with `_BETWEEN` as a special token of its own.
        between: id of `_BETWEEN`.
        special: texts of all special tokens of `encoding`.
    """

    facts: ByteLevel
    encoding: Any
    between: int
    special: frozenset[str]

    @classmethod
    def of(cls, facts: ByteLevel, left_out: Collection[int] = ()) -> StandIn:
        """With tiktoken's vocabulary, which goes without the ids of tokens that are never merged; raises Unserved."""
        kept = facts.vocabulary
        if left_out:
            kept = {token: number for token, number in kept.items() if number not in left_out}
        special = {text: number for text, number in facts.added.items() if text not in facts.careful}
        special[_BETWEEN] = len(facts.lengths)
        encoding = tiktoken_of("stand-in", facts.pattern, kept, special)
        return cls(facts, encoding, special[_BETWEEN], frozenset(special))

    def serves(self, text: str) -> bool:
        """Whether the proof covers this text."""
        if _BETWEEN in text or not measurable(text, self.facts):
            return False
        if text.isascii():
            return True
        data = text.encode()
        return not any(lead in data for lead in _LEADS) or _UNPROVEN.search(text) is None

    def encode(self, texts: Sequence[str]) -> list[Encoded | None]:
        """The tokens of texts that are served; None where tiktoken gives up or leaves characters out."""
        if not texts:
            return []
        try:
            ids = self.encoding.encode_to_numpy(
                "".join(f"{text}{_BETWEEN}" for text in texts), allowed_special=self.special, disallowed_special=()
            )
        except ValueError:  # a run of white space that its regular expressions cannot get through
            return [None] * len(texts)
        ids = ids.astype(np.int32)  # a copy: a row's tokens are a part of it
        stops = np.flatnonzero(ids == self.between).tolist()
        starts = [0, *(stop + 1 for stop in stops[:-1])]
        return [
            with_offsets(ids[start:stop], text, self.facts.lengths)
            for start, stop, text in zip(starts, stops, texts, strict=True)
        ]
