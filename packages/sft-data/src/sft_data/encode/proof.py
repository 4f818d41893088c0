"""The proof that tiktoken gives the ids of a byte-level BPE tokenizer, part by part.

Merges. Both encoders merge the best of all neighbouring pairs until none is left: `tokenizers` the pair that comes
first in its list of merges, tiktoken the pair whose joined bytes have the lowest id. Let each token, encoded alone,
become itself, and let the ids of the list's merged tokens never fall. Then both take the same steps on every text:
a pair x y whose joined bytes are a token t can only stand in a text in a state that encoding t alone goes through,
and its only state of two tokens is the one before it becomes t, so x y is a merge of the list. A token that does
not become itself alone is never merged by `tokenizers`; it is left out of tiktoken's vocabulary, or, with
`ignore_merges`, must end as three tokens or more, so that no pair joins to it.

Pieces. The two regular expression engines are compared on every character below U+20000 beside letters, digits,
space, marks and line ends, with a vocabulary of single bytes and of all pairs that can meet at a border: an id of
such a pair appears exactly where there is no border.

The rest. Added tokens, normal forms and long runs are compared on a corpus of hostile texts, with offsets.
"""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from sft_data.encode.byte_level import ByteLevel, Unserved, byte_letters
from sft_data.encode.probe import boundary_texts, probe_texts
from sft_data.encode.stand_in import StandIn, tiktoken_of
from sft_data.encoding import Encoded


def prove(spec: dict[str, Any], facts: ByteLevel, backend: Tokenizer) -> tuple[int, ...]:
    """Shows that tiktoken gives the tokenizer's own ids and offsets.

    Args:
        spec: the content of tokenizer.json.
        facts: what `read_byte_level` found in it.
        backend: the tokenizer.

    Returns:
        Ids that its vocabulary has to go without.

    Raises:
        Unserved: tiktoken is not installed, or something is not the same.
    """
    left_out = _never_merged(spec, facts)
    _require_same_pieces(spec, facts.pattern)
    _require_same_tokens(StandIn.of(facts, left_out), backend, probe_texts(list(facts.added)))
    return left_out


def _never_merged(spec: dict[str, Any], facts: ByteLevel) -> tuple[int, ...]:
    """Tokens that no text becomes, and that tiktoken would make."""
    try:
        made = [facts.vocabulary[left + right] for left, right in facts.merges]
    except KeyError as error:
        raise Unserved(f"a merge makes {error.args[0]!r}, which is no token") from None
    if (np.diff(made) < 0).any():
        raise Unserved("its merges are not in the order of their tokens' ids")
    alone = _without_frame(spec, {**spec["model"], "ignore_merges": False})
    letters = byte_letters()
    texts = ["".join(letters[byte] for byte in token) for token in facts.vocabulary]
    left_out: list[int] = []
    encoded = alone.encode_batch_fast(texts, add_special_tokens=False)
    for (token, number), found in zip(facts.vocabulary.items(), encoded, strict=True):
        if found.ids == [number]:
            continue
        if not facts.whole_first:
            left_out.append(number)
        elif len(found.ids) < 3:
            raise Unserved(f"its token {token!r} is two tokens when it is merged, which tiktoken cannot tell")
    return tuple(left_out)


def _without_frame(spec: dict[str, Any], model: dict[str, Any], pre_tokenizer: Any = None) -> Tokenizer:
    """The model alone: no normal form, no added tokens."""
    bare: dict[str, Any] = {
        "normalizer": None,
        "post_processor": None,
        "added_tokens": [],
        "truncation": None,
        "padding": None,
    }
    return Tokenizer.from_str(json.dumps({**spec, **bare, "pre_tokenizer": pre_tokenizer, "model": model}))


def _require_same_pieces(spec: dict[str, Any], pattern: str) -> None:
    vocabulary = _border_vocabulary()
    letters = byte_letters()
    written = {"".join(letters[byte] for byte in token): number for token, number in vocabulary.items()}
    merges = [list(token) for token in written if len(token) > 1]
    model = {"type": "BPE", "vocab": written, "merges": merges}
    theirs = _without_frame(spec, model, spec["pre_tokenizer"])
    ours = tiktoken_of("borders", pattern, vocabulary, {})
    texts = boundary_texts()
    for text, wanted in zip(texts, theirs.encode_batch_fast(texts, add_special_tokens=False), strict=True):
        if ours.encode_ordinary(text) != wanted.ids:
            raise Unserved(f"its pattern cuts some of the characters from {text[1]!r} on otherwise in tiktoken")


def _border_vocabulary() -> dict[bytes, int]:
    """The bytes, and each byte that can end a character joined to each that can begin one."""
    ends, begins = range(0xC0), (*range(0x80), *range(0xC2, 0xF5))
    tokens = [*(bytes([byte]) for byte in range(256)), *(bytes(pair) for pair in product(ends, begins))]
    return {token: number for number, token in enumerate(tokens)}


def _require_same_tokens(stand_in: StandIn, backend: Tokenizer, texts: list[str]) -> None:
    served = [text for text in texts if stand_in.serves(text)]
    wanted = backend.encode_batch(served, add_special_tokens=False)
    for text, found, expected in zip(served, stand_in.encode(served), wanted, strict=True):
        difference = found is None or found.difference(Encoded.of(expected))
        if difference:
            raise Unserved(f"tiktoken differs on {text[:80]!r}: {difference}")
