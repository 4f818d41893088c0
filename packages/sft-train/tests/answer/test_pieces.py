"""Pieces of text, joined, are the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_train.answer import TextPieces

WORDS = ("▁one", "two", "▁", "▁three", "é", "🙂")


def of_bytes(ids: Sequence[int]) -> str:
    """As a byte-level tokenizer decodes."""
    return bytes(ids).decode("utf-8", "replace")


def of_words(ids: Sequence[int]) -> str:
    """As SentencePiece decodes: the first space of a text is not written."""
    return "".join(WORDS[each] for each in ids).replace("▁", " ").removeprefix(" ")


@pytest.mark.parametrize(
    ("decode", "tokens"),
    [
        (of_bytes, st.text(max_size=30).map(lambda text: [*text.encode("utf-8", "replace")])),
        (of_bytes, st.binary(max_size=12).map(list)),
        (of_words, st.lists(st.integers(0, len(WORDS) - 1), max_size=30)),
    ],
)
def test_pieces_joined_are_what_all_ids_decode_to(
    decode: Callable[[Sequence[int]], str], tokens: st.SearchStrategy[list[int]]
) -> None:
    @given(tokens)
    def check(ids: list[int]) -> None:
        pieces = TextPieces(decode)
        shown = [pieces.push([each]) for each in ids]
        assert "".join([*shown, pieces.end()]) == decode(ids)

    check()


@given(st.text(alphabet="aé数🙂", min_size=1, max_size=12))
def test_no_piece_holds_a_part_of_a_character(text: str) -> None:
    pieces = TextPieces(of_bytes)
    shown = [pieces.push([each]) for each in text.encode()]
    assert "\ufffd" not in "".join(shown)
    assert sum(map(bool, shown)) == len(text)
    assert pieces.end() == ""


def test_a_character_that_never_becomes_whole_is_shown_at_the_end() -> None:
    pieces = TextPieces(of_bytes)
    assert [pieces.push([each]) for each in "é".encode()[:1]] == [""]
    assert pieces.end() == "\ufffd"
