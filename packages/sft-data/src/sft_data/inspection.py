"""The real packed rows, token by token, with the reason why each is trained or not."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, replace

import numpy as np

from sft_data.detect import settle_formats
from sft_data.duplicate import digest_of
from sft_data.excess import Piece, fit
from sft_data.mask import trained_region_of
from sft_data.pack import plan_packs
from sft_data.pipeline import Masked, Pipeline, whole_place
from sft_data.prepare import Prepared, prepare
from sft_data.row import Row
from sft_data.source import read_rows
from sft_schema import IGNORE_INDEX, ContractError, DataError, SftConfig
from sft_schema.config import DatasetConfig
from sft_schema.record import InspectedToken, Region, RowOrigin, Span, TokenizedSample

Shown = dict[int, tuple[RowOrigin, list[InspectedToken]]]
"""Origin and tokens of samples, by their index."""


@dataclass(frozen=True, slots=True)
class InspectedRow:
    """One packed row.

    Attributes:
        row: its index in epoch 0.
        tokens: all its tokens.
        origins: where each of its samples came from.
    """

    row: int
    tokens: tuple[InspectedToken, ...]
    origins: tuple[RowOrigin, ...]


def inspect_rows(cfg: SftConfig, *, count: int = 1, row: int | None = None) -> list[InspectedRow]:
    """The first packed training rows of epoch 0, or one of them, as the trainer gets them.

    Raises:
        DataError: see `prepare`; or there is no such row.
        ContractError: a row's tokens differ from the prepared ones.
    """
    prepared = prepare(cfg)
    cfg, _ = settle_formats(cfg)
    plan = plan_packs(prepared.train.lengths, cfg, epoch=0, shuffle=cfg.shuffle_merged_datasets)
    wanted = range(min(count, len(plan))) if row is None else [row]
    if row is not None and not 0 <= row < len(plan):
        raise DataError(f"there are rows 0 to {len(plan) - 1}", where=f"row {row}", fix="choose one of them")
    rows = {each: [np.atleast_1d(held).tolist() for held in plan.row(each)] for each in wanted}
    shown = _inspect_samples(cfg, prepared, {held[0] for row in rows.values() for held in row})
    return [_inspected_row(each, [_piece(shown, *held) for held in row]) for each, row in rows.items()]


def _piece(
    shown: Shown, sample: int, start: int = 0, stop: int | None = None
) -> tuple[RowOrigin, list[InspectedToken]]:
    origin, tokens = shown[sample]
    return origin, tokens[start:stop]


def _inspected_row(index: int, samples: list[tuple[RowOrigin, list[InspectedToken]]]) -> InspectedRow:
    tokens: list[InspectedToken] = []
    for number, (_, sample) in enumerate(samples):
        for position, token in enumerate(sample):
            # as in packing: nothing before a sample's first token may predict it
            shown = replace(token, sample=number)
            if position == 0 and token.trained:
                shown = replace(shown, trained=False, weight=0.0, reason="first_token")
            tokens.append(shown)
    return InspectedRow(index, tuple(tokens), tuple(origin for origin, _ in samples))


def _inspect_samples(cfg: SftConfig, prepared: Prepared, wanted: Iterable[int]) -> Shown:
    """Renders the samples' rows again, because spans are not stored."""
    samples: dict[tuple[str, str], list[int]] = {}
    for each in wanted:  # a mix may repeat a sample
        samples.setdefault(_key(prepared.train[each].origin), []).append(each)
    pipeline = Pipeline(cfg, prepared.tokenizer)
    shown: Shown = {}
    for dataset in cfg.datasets:
        for piece in _pieces(dataset, samples.keys(), pipeline, cfg.excess_length_strategy):
            for index in samples.get(_key(piece.row.origin), ()):
                shown[index] = (piece.row.origin, _tokens(piece, prepared.train[index], pipeline))
    return shown


def _pieces(
    dataset: DatasetConfig, wanted: Iterable[tuple[str, str]], pipeline: Pipeline, strategy: str
) -> Iterable[Piece]:
    """What was made of the rows that hold the wanted samples."""
    for row in _rows(dataset, wanted):
        for part, example, rendered in pipeline.examples(row, dataset):
            whole = Piece.whole(part, pipeline.masked(example, rendered, dataset))
            yield from fit(whole, example, dataset, pipeline, strategy)


def _key(origin: RowOrigin) -> tuple[str, str]:
    return origin.dataset, origin.place


def _rows(dataset: DatasetConfig, wanted: Iterable[tuple[str, str]]) -> Iterable[Row]:
    left = {whole_place(place) for path, place in wanted if path == dataset.path}
    for row in read_rows(dataset):
        if row.origin.place in left and isinstance(row, Row):
            left.discard(row.origin.place)
            yield row
        if not left:
            return


def _tokens(piece: Piece, stored: TokenizedSample, pipeline: Pipeline) -> list[InspectedToken]:
    masked, encoded = piece.masked, piece.masked.encoded
    again = piece.of(pipeline.sample(piece.row, masked))
    if digest_of(again) != digest_of(stored):
        raise ContractError(f"{stored.origin.place} gives other tokens now than when it was prepared")
    regions = trained_region_of(encoded, masked.regions, pipeline.tokenizer.special_ids)
    spans = _span_of_tokens(masked)
    in_part = {region.message for region in masked.regions}
    tokens: list[InspectedToken] = []
    shown_to = 0
    for index in range(piece.start, piece.stop):
        start, end = int(encoded.starts[index]), int(encoded.ends[index])
        text = masked.rendered.text[max(start, shown_to) : end]  # tokens of one character: the first shows it
        shown_to = max(shown_to, end)
        trained = int(masked.labels[index]) != IGNORE_INDEX
        message, field = _source(regions[index], spans[index])
        reason = _reason(regions[index], message, in_part, trained=trained)
        role = None if message is None else masked.rendered.roles[message]
        weight = float(trained) if masked.weights is None else float(masked.weights[index])
        tokens.append(InspectedToken(int(encoded.ids[index]), text, trained, message, role, field, 0, weight, reason))
    return tokens


def _span_of_tokens(masked: Masked) -> list[Span | None]:
    found: list[Span | None] = [None] * len(masked.encoded.ids)
    for span in masked.rendered.spans:
        for token in range(*masked.encoded.overlapping(span.start, span.end).indices(len(found))):
            found[token] = found[token] or span
    return found


def _reason(region: Region | None, message: int | None, in_part: Set[int], *, trained: bool) -> str:
    if trained:
        return "labels" if region is None else region.reason
    if message is None:
        return "template"
    return "part_not_trained" if message in in_part else "turn_not_trained"


def _source(region: Region | None, span: Span | None) -> tuple[int | None, str]:
    """Message and field of a token: its own field, else the trained turn that it completes, else template text."""
    if region is not None and region.reason == "end_of_turn":
        return region.message, "end_of_turn"
    if span is not None:
        return span.message, span.field
    if region is not None and region.reason == "turn":
        return region.message, "template"
    return None, "template"
