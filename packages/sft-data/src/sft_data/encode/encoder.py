"""Rows to tokens, by `tokenizers` or by tiktoken where that was proven to be the same."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tokenizers import Tokenizer

from sft_data.encode.byte_level import ByteLevel, Unserved, read_byte_level
from sft_data.encode.known import Verdict, known_verdict
from sft_data.encode.offsets import with_offsets
from sft_data.encode.probe import probe_texts
from sft_data.encode.proof import prove
from sft_data.encode.stand_in import StandIn, measurable
from sft_data.encoding import Encoded
from sft_schema import DataError

EngineChoice = Literal["auto", "tokenizers", "tiktoken"]

_CHECKED_FIRST = 32
_CHECKED_EVERY = 256
_ROWS_PER_CALL = 64


class Encoder:
    """Encodes rows, several at once and ahead of who reads them. It can be pickled.

    Every row has the ids and offsets of the `tokenizers` library, whichever engine makes them. The first rows of a
    faster way, and one in 256 later, are encoded by `tokenizers` too and compared.

    Attributes:
        rows: rows made by each engine, `tiktoken` or `tokenizers`.
        reason: why tiktoken is not used, as a sentence without a subject; empty while it is, or was not tried.
        threads: calls that run at a time.

    Args:
        file: the tokenizer.json.
        backend: the tokenizer of that file.
        choice: `tokenizer_engine` of the config.
    """

    def __init__(self, file: Path, backend: Tokenizer, choice: EngineChoice = "auto") -> None:
        self._file, self._backend, self._choice = file, backend, choice
        self._facts: ByteLevel | None = None
        self._stand_in: StandIn | None = None
        self._settled = choice == "tokenizers"
        self._seen = self._checked_from = 0
        self.rows: Counter[str] = Counter()
        self.reason = "`tokenizer_engine: tokenizers` was asked for" if self._settled else ""
        self.threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def encode_rows(self, texts: Sequence[str], places: Sequence[str]) -> Iterator[Encoded]:
        """The tokens of each row, in order; later rows are encoded while the first are read.

        Args:
            texts: rendered rows, special tokens written out in them; none are added.
            places: where each row stands, for errors.

        Raises:
            DataError: the engines differ on a row.
        """
        first, self._seen = self._seen, self._seen + len(texts)
        starts = range(0, len(texts), _ROWS_PER_CALL)

        def group(start: int) -> list[tuple[Encoded, str]]:
            stop = start + _ROWS_PER_CALL
            return self._group(texts[start:stop], places[start:stop], first + start)

        with ThreadPoolExecutor(self.threads) as pool:
            groups = map(group, starts) if self.threads == 1 else pool.map(group, starts)
            for encoded, engine in chain.from_iterable(groups):
                self.rows[engine] += 1
                yield encoded

    def settle(self, *, worth_it: bool) -> None:
        """Looks for a faster way, once; before any row, so that the engine of a row does not depend on chance.

        Args:
            worth_it: there is so much to encode that `auto` should look; it takes as long as some megabytes.

        Raises:
            DataError: tiktoken was asked for and cannot be used.
        """
        if self._settled or (self._choice == "auto" and not worth_it):
            return
        self._settled, self._checked_from = True, self._seen
        try:
            content = self._file.read_bytes()
            spec = json.loads(content)
            facts = read_byte_level(spec)
            verdict = known_verdict(content, lambda: _verdict(spec, facts, self._backend))
            self._facts, self.reason = facts if verdict.measures else None, verdict.unserved
            self._stand_in = None if verdict.unserved else StandIn.of(facts, verdict.left_out)
        except Unserved as error:
            self.reason = str(error)
        if self._stand_in is None and self._choice == "tiktoken":
            fix = "set `tokenizer_engine: auto`"
            raise DataError(f"tiktoken cannot be used: {self.reason}", where=str(self._file), fix=fix)

    def _group(self, texts: Sequence[str], places: Sequence[str], first: int) -> list[tuple[Encoded, str]]:
        """Some rows with the engine of each; `first` is the number of the first one."""
        found: list[tuple[Encoded | None, str]] = [(None, "tokenizers")] * len(texts)
        if self._stand_in is not None:
            served = [index for index, text in enumerate(texts) if self._stand_in.serves(text)]
            for index, tokens in zip(served, self._stand_in.encode([texts[each] for each in served]), strict=True):
                if tokens is not None:
                    found[index] = tokens, "tiktoken"
        left = [index for index, (tokens, _) in enumerate(found) if tokens is None]
        for index, tokens in zip(left, self._plainly([texts[each] for each in left]), strict=True):
            found[index] = tokens, "tokenizers"
        if self._facts is not None:
            for index, (tokens, engine) in enumerate(found):
                number = first + index
                if tokens is not None and (
                    number < self._checked_from + _CHECKED_FIRST or number % _CHECKED_EVERY == 0
                ):
                    self._check(texts[index], tokens, places[index], engine)
        return [(tokens, engine) for tokens, engine in found if tokens is not None]

    def _plainly(self, texts: Sequence[str]) -> list[Encoded]:
        """By `tokenizers`; its offsets are asked for only where they are not the lengths of tokens."""
        found: list[Encoded | None] = [None] * len(texts)
        facts = self._facts
        if facts is not None:
            measured = [index for index, text in enumerate(texts) if measurable(text, facts)]
            made = self._backend.encode_batch_fast([texts[each] for each in measured], add_special_tokens=False)
            for index, each in zip(measured, made, strict=True):
                found[index] = with_offsets(np.array(each.ids, dtype=np.int32), texts[index], facts.lengths)
        left = [index for index, tokens in enumerate(found) if tokens is None]
        made = self._backend.encode_batch([texts[each] for each in left], add_special_tokens=False)
        for index, each in zip(left, made, strict=True):
            found[index] = Encoded.of(each)
        return [tokens for tokens in found if tokens is not None]

    def _check(self, text: str, tokens: Encoded, place: str, engine: str) -> None:
        difference = tokens.difference(Encoded.of(self._backend.encode(text, add_special_tokens=False)))
        if difference is not None:
            fix = "set `tokenizer_engine: tokenizers`, and report this tokenizer"
            raise DataError(f"{engine} and the tokenizer's own encoding differ: {difference}", where=place, fix=fix)


def _verdict(spec: dict[str, Any], facts: ByteLevel, backend: Tokenizer) -> Verdict:
    measures = _measures(facts, backend)
    try:
        return Verdict(measures, left_out=prove(spec, facts, backend))
    except Unserved as error:
        return Verdict(measures, unserved=str(error))


def _measures(facts: ByteLevel, backend: Tokenizer) -> bool:
    """Whether the lengths of tokens are the offsets that `tokenizers` gives, on the probe corpus."""
    texts = [text for text in probe_texts(list(facts.added)) if measurable(text, facts)]
    for text, encoding in zip(texts, backend.encode_batch(texts, add_special_tokens=False), strict=True):
        wanted = Encoded.of(encoding)
        found = with_offsets(wanted.ids, text, facts.lengths)
        if found is None or found.difference(wanted) is not None:
            return False
    return True
