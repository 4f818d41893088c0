"""Tokens that stand for pictures are never trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sft_data.encoding import Encoded
from sft_data.row import RowError
from sft_schema import IGNORE_INDEX
from sft_schema.record import Region


def ignore_pictures(
    encoded: Encoded, spans: Sequence[tuple[int, int]], regions: Sequence[Region], labels: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Labels, int32 `[n]`, with IGNORE_INDEX at every token that touches a picture.

    Args:
        encoded: tokens of the text.
        spans: characters that stand for a picture, as (start, end).
        regions: trained characters.
        labels: int32 `[n]`; not changed.

    Raises:
        RowError: `picture_in_trained_turn` for a picture that the model would have to write itself, unless all inputs
            are trained; `nothing_to_train` when no other token is trained.
    """
    labels = labels.copy()
    for start, end in spans:
        for region in regions:
            if region.reason != "input" and region.start < end and start < region.end:
                detail = f"message {region.message} is trained and has a picture in it, which no text can be"
                raise RowError("picture_in_trained_turn", detail)
        labels[encoded.overlapping(start, end)] = IGNORE_INDEX
    if not (labels[1:] != IGNORE_INDEX).any():
        raise RowError("nothing_to_train", "no token of the row but those of pictures is trained")
    return labels
