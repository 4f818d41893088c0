"""Regions of characters to labels of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sft_data.encoding import Encoded
from sft_data.mask.spans import SpanIndex
from sft_data.row import RowError
from sft_schema import IGNORE_INDEX
from sft_schema.record import Region, Rendered, Span

_TEMPLATE = "template"
"""Field of a format's own text, in which control tokens are meant."""


def label_tokens(encoded: Encoded, regions: Sequence[Region], special_ids: frozenset[int]) -> NDArray[np.int32]:
    """Labels, int32 `[n]`: the token where it covers a trained character, IGNORE_INDEX elsewhere.

    A token that straddles the border between header and content carries content, so it is trained; a special
    token that begins in the header and swallows the white space after it (Phi's `<|assistant|>`) does not.

    Raises:
        RowError: `nothing_to_train` when no token but the first, which nothing predicts, is trained.
    """
    labels = np.full(len(encoded.ids), IGNORE_INDEX, dtype=np.int32)
    for tokens in _trained_tokens(encoded, regions, special_ids):
        labels[tokens] = encoded.ids[tokens]
    if not (labels[1:] != IGNORE_INDEX).any():
        raise RowError("nothing_to_train", "no token of the row is trained")
    return labels


def weigh_tokens(
    encoded: Encoded, regions: Sequence[Region], special_ids: frozenset[int]
) -> NDArray[np.float32] | None:
    """What each token counts in the loss, float32 `[n]`, 0 outside all regions; None when all regions count 1.

    A token that touches two regions counts as the first of them says.
    """
    if all(region.weight == 1 for region in regions):
        return None
    weights = np.zeros(len(encoded.ids), dtype=np.float32)
    tokens = _trained_tokens(encoded, regions, special_ids)
    for region, own in zip(reversed(regions), reversed(tokens), strict=True):
        weights[own] = region.weight
    return weights


def _trained_tokens(encoded: Encoded, regions: Sequence[Region], special_ids: frozenset[int]) -> list[slice]:
    """The trained tokens of each region."""
    found = encoded.overlapping_each(regions)
    starts, ids = encoded.starts.data, encoded.ids.data
    for index, (region, tokens) in enumerate(zip(regions, found, strict=True)):
        first = tokens.start
        if region.reason == "part":
            found[index] = _inside(encoded, region, tokens)
        elif first < tokens.stop and starts[first] < region.start and ids[first] in special_ids:
            found[index] = slice(first + 1, tokens.stop)
    return found


def _inside(encoded: Encoded, region: Region, tokens: slice) -> slice:
    """Without the tokens that straddle an end: they hold text that the row leaves out."""
    start, stop = tokens.start, tokens.stop
    while start < stop and int(encoded.starts[start]) < region.start:
        start += 1
    while start < stop and int(encoded.ends[stop - 1]) > region.end:
        stop -= 1
    return slice(start, stop)


def trained_region_of(encoded: Encoded, regions: Sequence[Region], special_ids: frozenset[int]) -> list[Region | None]:
    """For every token the trained region that it is in, the first one when it touches two."""
    found: list[Region | None] = [None] * len(encoded.ids)
    for region, tokens in zip(regions, _trained_tokens(encoded, regions, special_ids), strict=True):
        for token in range(tokens.start, tokens.stop):
            found[token] = found[token] or region
    return found


def special_tokens(ids: NDArray[np.int32], special_ids: frozenset[int]) -> NDArray[np.intp]:
    """Which of the tokens, int32 `[n]`, are special ones."""
    table = _table(special_ids)
    return np.flatnonzero(table[np.minimum(ids, len(table) - 1)])


@lru_cache(maxsize=4)
def _table(special_ids: frozenset[int]) -> NDArray[np.bool_]:
    """Whether each id is a special one; the last entry stands for all larger ids."""
    table = np.zeros(max(special_ids, default=0) + 2, dtype=np.bool_)
    table[list(special_ids)] = True
    return table


def special_in_content(rendered: Rendered, encoded: Encoded, special_ids: frozenset[int]) -> Iterator[tuple[int, Span]]:
    """Special tokens that came out of a message's own text, with the span that holds them."""
    tokens = special_tokens(encoded.ids, special_ids)
    index = SpanIndex(rendered.spans)
    for token, start, end in zip(
        tokens.tolist(), encoded.starts[tokens].tolist(), encoded.ends[tokens].tolist(), strict=True
    ):
        if not index.touches(start, end):
            continue
        text = rendered.text[start:end]
        # some special tokens swallow the white space around them: only their own characters count
        start, end = start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())
        span = index.around(start, end)
        if span is not None and span.field != _TEMPLATE:
            yield token, span


def refuse_special_in_content(rendered: Rendered, encoded: Encoded, special_ids: frozenset[int]) -> None:
    """Raises RowError when a special token came out of a message's own text.

    Such a text was templated twice, or forges a turn.
    """
    for token, span in special_in_content(rendered, encoded, special_ids):
        text = rendered.text[int(encoded.starts[token]) : int(encoded.ends[token])]
        place = f"{span.field} of message {span.message}"
        detail = f"{text.strip()!r} is written out in {place} and would become that token"
        raise RowError("special_token_in_content", detail)
