"""Special tokens that are written out in a message, encoded as the text that they are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from tokenizers import Tokenizer

from sft_data.encoding import Encoded
from sft_data.mask import special_in_content
from sft_data.row import RowError
from sft_schema.record import Rendered


class LiteralEncoder:
    """Encodes contents without their special tokens, and the template's text with them.

    Between two special tokens of the template, text that has some of its own is encoded again with special tokens
    off. All other tokens are those of the plain encoding, so a row without such texts has exactly its ids.

    Args:
        backend: the tokenizer; a copy of it is made when a row first needs one.
        special_ids: ids that it marks as special.
    """

    def __init__(self, backend: Tokenizer, special_ids: frozenset[int]) -> None:
        self._backend, self._special_ids = backend, special_ids
        self._plain: Tokenizer | None = None

    def encode(self, rendered: Rendered, encoded: Encoded) -> Encoded:
        """The tokens with contents as text; `encoded` itself where nothing is to be done.

        Raises:
            RowError: `special_token_in_content` when the tokenizer encodes a piece differently alone.
        """
        written = {token for token, _ in special_in_content(rendered, encoded, self._special_ids)}
        if not written:
            return encoded
        special = np.flatnonzero(np.isin(encoded.ids, np.fromiter(self._special_ids, dtype=np.int32)))
        kept = [-1, *(int(token) for token in special if int(token) not in written), len(encoded.ids)]
        pieces: list[Encoded] = []
        for left, right in pairwise(kept):
            between = slice(left + 1, right)
            if written.intersection(range(left + 1, right)):
                start = 0 if left < 0 else int(encoded.ends[left])
                end = len(rendered.text) if right == len(encoded.ids) else int(encoded.starts[right])
                pieces.append(self._literal(rendered.text, start, end))
            else:
                pieces.append(Encoded(encoded.ids[between], encoded.starts[between], encoded.ends[between]))
            at = slice(right, right + 1)
            pieces.append(Encoded(encoded.ids[at], encoded.starts[at], encoded.ends[at]))
        return Encoded(
            np.concatenate([piece.ids for piece in pieces]),
            np.concatenate([piece.starts for piece in pieces]),
            np.concatenate([piece.ends for piece in pieces]),
        )

    def _literal(self, text: str, start: int, end: int) -> Encoded:
        found = Encoded.of(self._tokenizer().encode(text[start:end], add_special_tokens=False))
        if np.isin(found.ids, np.fromiter(self._special_ids, dtype=np.int32)).any() or not self._same_alone(start):
            detail = f"the tokenizer cannot encode {text[start:end][:80]!r} as plain text"
            raise RowError("special_token_in_content", detail)
        return Encoded(found.ids, found.starts + start, found.ends + start)

    def _same_alone(self, start: int) -> bool:
        """Whether text after a special token is encoded as it is alone; some tokenizers put a space before it."""
        if start == 0:
            return True
        name = self._backend.id_to_token(min(self._special_ids)) or ""
        after = self._backend.encode(f"{name}x", add_special_tokens=False).ids[1:]
        return after == self._tokenizer().encode("x", add_special_tokens=False).ids

    def _tokenizer(self) -> Tokenizer:
        if self._plain is None:
            self._plain = Tokenizer.from_str(self._backend.to_str())
            self._plain.encode_special_tokens = True
        return self._plain
