"""The word tokenizer is lossless, and its ids depend on its arguments alone."""

from hypothesis import given
from hypothesis import strategies as st

from sft_schema.testing import WordTokenizer
from sft_schema.testing.strategies import HOSTILE, hostile_texts

TEXTS = ("What is 2+2?", "It is four.")


def test_known_words_are_one_token_and_unknown_ones_bytes() -> None:
    tokenizer = WordTokenizer(TEXTS)
    text = "<|start|>What is five?<|end|>"
    tokens = tokenizer.encode_with_offsets(text)
    assert [text[start:end] for _, start, end in tokens] == [
        "<|start|>", "What", " ", "is", " ", *["five"] * 4, "?", "<|end|>",
    ]  # fmt: skip
    assert tokens[0][0] == 0
    assert tokens[-1][0] == 1
    assert [token for token, _, _ in tokens[5:9]] == [2 + byte for byte in b"five"]
    assert tokenizer.vocab_size == 2 + 256 + len({"What", " ", "is", "2", "+", "?", "It", "four", "."})


@given(hostile_texts(surrogates=True))
def test_every_text_comes_back(text: str) -> None:
    tokenizer = WordTokenizer(TEXTS)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(0 <= token < tokenizer.vocab_size for token in ids)


@given(st.permutations([*TEXTS, *HOSTILE]), st.lists(hostile_texts(), max_size=3))
def test_ids_depend_on_neither_the_order_nor_what_was_encoded_before(texts: list[str], before: list[str]) -> None:
    first, second = WordTokenizer([*TEXTS, *HOSTILE]), WordTokenizer(texts)
    for text in before:
        second.encode(text)
    assert [first.encode(text) for text in HOSTILE] == [second.encode(text) for text in HOSTILE]


@given(hostile_texts())
def test_offsets_cover_the_text_in_order(text: str) -> None:
    spans = [(start, end) for _, start, end in WordTokenizer(TEXTS).encode_with_offsets(text)]
    covered = sorted(set(spans))
    assert [start for start, _ in covered] == [0, *(end for _, end in covered)][: len(covered)]
    assert not text or covered[-1][1] == len(text)
    assert spans == sorted(spans)
