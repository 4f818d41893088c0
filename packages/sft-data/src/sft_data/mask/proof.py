"""What must hold of every masked row, checked on all of them: a mask that breaks it stops the run."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from sft_data.encoding import Encoded
from sft_data.mask.markers import TurnMarkers
from sft_schema import IGNORE_INDEX
from sft_schema.record import Region, Rendered, Span


def broken_promise(
    rendered: Rendered, encoded: Encoded, regions: tuple[Region, ...], labels: NDArray[np.int32], markers: TurnMarkers
) -> str | None:
    """What is wrong with a conversation's mask; None when every promise holds.

    Each trained stop token is one token and stands at the end of its turn's trained tokens; no token of a role is
    trained; nothing outside the regions is trained.
    """
    trained = labels != IGNORE_INDEX
    outside = trained.copy()
    for region, tokens in zip(regions, encoded.overlapping_each(regions), strict=True):
        outside[tokens] = False
        if region.reason == "end_of_turn":
            broken = _broken_stop(encoded, region, tokens, regions, trained.data, markers)
            if broken is not None:
                return broken
    if outside.any():
        return "a token outside of all trained turns is trained"
    # without a generation prompt the model writes the role itself
    return _trained_role(rendered, encoded, regions, trained) if markers.header else None


def _broken_stop(
    encoded: Encoded,
    region: Region,
    tokens: slice,
    regions: tuple[Region, ...],
    trained: memoryview,
    markers: TurnMarkers,
) -> str | None:
    """What is wrong with a turn's stop token; `trained` says of each token whether it is."""
    first, following = tokens.start, tokens.stop
    if following != first + 1 or encoded.ids.data[first] not in markers.stop_ids or not trained[first]:
        stops = encoded.ids[tokens].tolist()
        return f"the stop token of message {region.message} is not trained once: tokens {stops}"
    if following < len(trained) and trained[following] and not _begins_region(encoded, following, regions):
        return f"text after the stop token of message {region.message} is trained"
    return None


def _begins_region(encoded: Encoded, token: int, regions: tuple[Region, ...]) -> bool:
    start, end = int(encoded.starts[token]), int(encoded.ends[token])
    return any(start <= region.start < end for region in regions)


def _trained_role(
    rendered: Rendered, encoded: Encoded, regions: tuple[Region, ...], trained: NDArray[np.bool_]
) -> str | None:
    if any(region.reason == "input" for region in regions):
        return None
    roles = [span for span in rendered.spans if span.field == "role"]
    if not _meet(roles, regions):
        return None  # no trained token lies outside of the regions
    first, stop = _tokens_inside(encoded, roles)
    before = np.concatenate([np.zeros(1, dtype=np.int64), trained.cumsum()])
    wrong = np.flatnonzero((stop > first) & (before[stop] > before[first]))
    if not len(wrong):
        return None
    span = roles[int(wrong[0])]
    return f"the role {rendered.text[span.start : span.end]!r} of message {span.message} is trained"


def _meet(spans: list[Span], regions: tuple[Region, ...]) -> bool:
    """Whether a span has a character of a region; both are in order of `start`."""
    ends = list(accumulate((region.end for region in regions), max))
    for span in spans:
        at = bisect_right(ends, span.start)  # the regions before end before the span, those after begin later
        if at < len(ends) and regions[at].start < span.end:
            return True
    return False


def _tokens_inside(encoded: Encoded, spans: list[Span]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The tokens that lie wholly in each of n spans: first, and one past the last, `[n]` each."""
    starts = np.array([span.start for span in spans], dtype=np.int64)
    ends = np.array([span.end for span in spans], dtype=np.int64)
    first = np.maximum(encoded.starts.searchsorted(starts, "left"), encoded.ends.searchsorted(starts, "right"))
    stop = np.minimum(encoded.ends.searchsorted(ends, "right"), encoded.starts.searchsorted(ends, "left"))
    return first, stop


def double_begin(rendered: Rendered, encoded: Encoded, bos_id: int | None) -> bool:
    """Whether the template writes the begin token more than once; what stands in a message does not count."""
    if bos_id is None:
        return False
    places = encoded.starts[encoded.ids == bos_id]
    if len(places) < 2:
        return False
    own = [at for at in places.tolist() if not any(span.start <= at < span.end for span in rendered.spans)]
    return len(own) > 1
