"""The promises of each token record, as functions that raise ContractError when one is broken.

They read arrays through `len` and `tolist`, so this package needs no numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

from sft_schema.constants import IGNORE_INDEX
from sft_schema.errors import ContractError

if TYPE_CHECKING:
    from sft_schema.record import PackedBatch, PackedRow, PackPlan, Rendered, TokenizedSample


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ContractError(message)


def check_labels(input_ids: Sequence[int], labels: Sequence[int], what: str) -> None:
    """As many labels as tokens, each the token itself or IGNORE_INDEX."""
    _require(len(input_ids) == len(labels), f"{what}: {len(input_ids)} input_ids but {len(labels)} labels")
    for index, (token, label) in enumerate(zip(input_ids, labels, strict=True)):
        if label not in (token, IGNORE_INDEX):
            raise ContractError(f"{what}: label {label} at token {index} is neither its id {token} nor {IGNORE_INDEX}")


def check_weights(weights: Sequence[float] | None, labels: Sequence[int], what: str) -> None:
    """As many weights as tokens, above 0 for those that are trained and 0 for all others; None for no weights."""
    if weights is None:
        return
    _require(len(weights) == len(labels), f"{what}: {len(labels)} labels but {len(weights)} weights")
    for index, (weight, label) in enumerate(zip(weights, labels, strict=True)):
        fits = 0 < weight < inf if label != IGNORE_INDEX else weight == 0
        _require(fits, f"{what}: weight {weight} at token {index}, whose label is {label}")


def _check_boundaries(cu_seqlens: Sequence[int], length: int, what: str) -> None:
    _require(len(cu_seqlens) >= 2, f"{what}: cu_seqlens {list(cu_seqlens)} names no sample")
    _require(cu_seqlens[0] == 0, f"{what}: cu_seqlens begins at {cu_seqlens[0]}, not 0")
    _require(
        cu_seqlens[-1] == length,
        f"{what}: cu_seqlens ends at {cu_seqlens[-1]}, but there are {length} tokens",
    )
    _require(all(a < b for a, b in pairwise(cu_seqlens)), f"{what}: cu_seqlens {list(cu_seqlens)} does not rise")


def check_rendered(rendered: Rendered) -> None:
    """Spans are sorted, inside the text, do not overlap, and name messages that exist."""
    before = 0
    for span in rendered.spans:
        _require(before <= span.start <= span.end <= len(rendered.text), f"span out of order or of bounds: {span}")
        _require(0 <= span.message < len(rendered.roles), f"span of a message that is not there: {span}")
        before = span.end


def check_sample(sample: TokenizedSample) -> None:
    """Labels are the token itself or IGNORE_INDEX, weights go with them, and at least one token is trained."""
    what = f"sample of row {sample.origin.row} of {sample.origin.dataset}"
    labels = sample.labels.tolist()
    check_labels(sample.input_ids.tolist(), labels, what)
    check_weights(None if sample.weights is None else sample.weights.tolist(), labels, what)
    _require(any(label != IGNORE_INDEX for label in labels[1:]), f"{what}: nothing to train")


def check_plan(plan: PackPlan, lengths: Sequence[int]) -> None:
    """Every token of every sample stands in exactly one row, and no row is empty or longer than `sequence_len`."""
    samples: list[int] = plan.samples.tolist()
    pieces: list[tuple[int, int, int]]
    if plan.pieces is None:
        _require(sorted(samples) == list(range(len(lengths))), "a sample is missing or stands twice")
        pieces = [(sample, 0, lengths[sample]) for sample in samples]
    else:
        pieces = [(sample, start, stop) for sample, start, stop in plan.pieces.tolist()]
        _require([piece[0] for piece in pieces] == samples, "samples and pieces of the plan differ")
        _check_pieces(pieces, lengths)
    offsets = plan.row_offsets.tolist()
    _require((offsets[0], offsets[-1]) == (0, len(pieces)), f"row_offsets go from {offsets[0]} to {offsets[-1]}")
    for index, (start, end) in enumerate(pairwise(offsets)):
        used = sum(stop - begin for _, begin, stop in pieces[start:end])
        _require(0 < used <= plan.sequence_len, f"row {index} holds {used} tokens of {plan.sequence_len}")


def _check_pieces(pieces: list[tuple[int, int, int]], lengths: Sequence[int]) -> None:
    """Each sample's pieces follow one another from its first token to its last."""
    reached = [0] * len(lengths)
    for sample, start, stop in sorted(pieces):
        _require(0 <= sample < len(lengths), f"a piece of sample {sample}, which is not there")
        _require(
            start == reached[sample] and start < stop,
            f"tokens {start} to {stop} of sample {sample} follow on its first {reached[sample]}",
        )
        reached[sample] = stop
    for sample, (stop, length) in enumerate(zip(reached, lengths, strict=True)):
        _require(stop == length, f"{stop} of {length} tokens of sample {sample} stand in rows")


def check_row(row: PackedRow) -> None:
    """Boundaries cover the row, and no sample's first token has a label."""
    labels, cu_seqlens = row.labels.tolist(), row.cu_seqlens.tolist()
    check_labels(row.input_ids.tolist(), labels, "row")
    check_weights(None if row.weights is None else row.weights.tolist(), labels, "row")
    _check_boundaries(cu_seqlens, len(labels), "row")
    _require(len(row.samples) == len(cu_seqlens) - 1, "row: not one sample index per segment")
    for start in cu_seqlens[:-1]:
        _require(labels[start] == IGNORE_INDEX, f"row: the first token of the sample at {start} has a label")


def check_batch(batch: PackedBatch) -> None:
    """One row of `[1, t]`; positions restart at every boundary; max_seqlen is the longest sample."""
    (input_ids,), (labels,), (positions,) = (
        batch.input_ids.tolist(),
        batch.labels.tolist(),
        batch.position_ids.tolist(),
    )
    cu_seqlens = batch.cu_seqlens.tolist()
    check_labels(input_ids, labels, "batch")
    check_weights(None if batch.weights is None else batch.weights.tolist()[0], labels, "batch")
    _check_boundaries(cu_seqlens, len(labels), "batch")
    expected = [position for start, end in pairwise(cu_seqlens) for position in range(end - start)]
    _require(positions == expected, "batch: position_ids do not restart at the boundaries of cu_seqlens")
    longest = max(end - start for start, end in pairwise(cu_seqlens))
    _require(batch.max_seqlen == longest, f"batch: max_seqlen {batch.max_seqlen}, longest sample {longest}")
    for start in cu_seqlens[:-1]:
        _require(labels[start] == IGNORE_INDEX, f"batch: the first token of the sample at {start} has a label")
