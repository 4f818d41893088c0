"""A sample as tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sft_schema.record.picture import Pictured

    IntArray: TypeAlias = NDArray[np.signedinteger[Any]]
    FloatArray: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RowOrigin:
    """Which row a sample was made from.

    Attributes:
        dataset: the data set's `path` in the config.
        row: index of the row in it, from 0.
        place: file and line for text files, `file row N` for others.
    """

    dataset: str
    row: int
    place: str


@dataclass(frozen=True, slots=True)
class TokenizedSample:
    """One sample: its tokens and which of them are trained.

    Attributes:
        input_ids: int32 `[n]`.
        labels: int32 `[n]`, unshifted: the token itself where it is trained, IGNORE_INDEX elsewhere.
        origin: the row it came from.
        weights: float32 `[n]`: what each token counts in the loss, 0 where it is not trained; None when every trained
            token counts 1.
        pictured: with a processor for pictures the text and pictures behind the tokens.
    """

    input_ids: IntArray
    labels: IntArray
    origin: RowOrigin
    weights: FloatArray | None = None
    pictured: Pictured | None = None
