"""A tokenizer for tests: words as tokens, nothing to download, the same ids everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_BYTES = 256


class WordTokenizer:
    """Words, single spaces and single signs as tokens; what it does not know becomes bytes.

    Ids are, in this order: the special tokens, the 256 bytes, the words sorted. They depend on the arguments alone,
    not on what was encoded before, and `decode(encode(text)) == text` for every text, halves of surrogate pairs
    included.

    Args:
        texts: texts whose words are known.
        special: texts of special tokens, written out in a text as chat templates do.

    Attributes:
        special: special token to id.
        vocab_size: number of ids.
    """

    def __init__(self, texts: Iterable[str] = (), *, special: Sequence[str] = ("<|start|>", "<|end|>")) -> None:
        self.special = {token: index for index, token in enumerate(special)}
        longest_first = sorted(special, key=len, reverse=True)
        signs = "|".join([*map(re.escape, longest_first), r"\w+", r"[^\w]"])
        self._pieces = re.compile(signs, re.DOTALL)
        words = {piece for text in texts for piece in self._pieces.findall(text)} - self.special.keys()
        self._first_word = len(special) + _BYTES
        self._words = {word: self._first_word + index for index, word in enumerate(sorted(words))}
        self._texts = {index: text for text, index in (self.special | self._words).items()}
        self.vocab_size = self._first_word + len(self._words)

    def encode(self, text: str) -> list[int]:
        """Token ids."""
        return [token for token, _, _ in self.encode_with_offsets(text)]

    def encode_with_offsets(self, text: str) -> list[tuple[int, int, int]]:
        """Id, first character and one past the last of each token; the bytes of a word share its characters."""
        found: list[tuple[int, int, int]] = []
        for piece in self._pieces.finditer(text):
            known = self.special.get(piece[0], self._words.get(piece[0]))
            start, end = piece.span()
            if known is not None:
                found.append((known, start, end))
                continue
            raw = piece[0].encode("utf-8", "surrogatepass")
            found.extend((len(self.special) + byte, start, end) for byte in raw)
        return found

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the ids."""
        raw = bytearray()
        for token in ids:
            if len(self.special) <= token < self._first_word:
                raw.append(token - len(self.special))
            else:
                raw += self._texts[token].encode("utf-8", "surrogatepass")
        return raw.decode("utf-8", "surrogatepass")
