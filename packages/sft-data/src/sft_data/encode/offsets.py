r"""The characters of each token from the tokens' lengths in bytes.

    text     n a ï v e          bytes  6e 61 c3 af 76 65
    tokens   [n a] [c3] [af v] [e]
    starts     0     2    2     4      the character that holds the token's first byte
    ends       2     3    4     5      one past the one that holds its last byte

Tokens that share a character both cover it, as the `tokenizers` library says it too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sft_data.encoding import Encoded

_CONTINUES, _TOP_BITS = 0x80, 0xC0


def with_offsets(ids: NDArray[np.int32], text: str, lengths: NDArray[np.int32]) -> Encoded | None:
    """The tokens with their characters; None when they do not make up the text byte for byte.

    Args:
        ids: int32 `[n]`, tokens of the text.
        text: the text.
        lengths: int32 `[vocabulary]`, bytes of each token.
    """
    own = lengths[ids]
    ends: NDArray[np.int64] = own.cumsum(dtype=np.int64)
    starts = ends - own.astype(np.int64)
    size = int(ends[-1]) if len(ends) else 0
    if text.isascii():
        return Encoded(ids, starts, ends) if size == len(text) else None
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    if size != len(data):
        return None
    character = ((data & _TOP_BITS) != _CONTINUES).cumsum(dtype=np.int64) - 1
    return Encoded(ids, character[starts], character[ends - 1] + 1)
