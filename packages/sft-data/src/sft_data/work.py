"""A block of rows through all arrows, and into a shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sft_data.account import Ledger
from sft_data.block import Block
from sft_data.collector import collector_paused
from sft_data.duplicate import digest_of, minima_of
from sft_data.excess import Piece, fit, price
from sft_data.pipeline import Pipeline
from sft_data.row import BadRow, Row, RowError
from sft_data.store import ShardInfo, ShardRow, write_shard
from sft_schema import SftConfig
from sft_schema.config import DatasetConfig
from sft_schema.record import Example, Rendered, Tokens

_ROWS_AT_A_TIME = 512
"""Encoded together, because that uses all cores where there is one process."""


def make_shard(cfg: SftConfig, pipeline: Pipeline, block: Block, folder: Path) -> ShardInfo:
    """Works on a block and stores what is kept of it.

    Args:
        cfg: the config.
        pipeline: its arrows.
        block: the rows.
        folder: of the shards.

    Raises:
        DataError: see `prepare`.
    """
    ledger, dataset = Ledger(cfg), block.part.dataset(cfg)
    before = Counter(pipeline.tokenizer.encoder.rows)
    for start in range(0, len(block.rows), _ROWS_AT_A_TIME):
        with collector_paused():
            _take(cfg, pipeline, dataset, block.rows[start : start + _ROWS_AT_A_TIME], ledger)
    ledger.account.engines = pipeline.tokenizer.encoder.rows - before
    return write_shard(folder, block.number, ledger.kept, ledger.account.as_json())


def _take(
    cfg: SftConfig, pipeline: Pipeline, dataset: DatasetConfig, rows: Sequence[Row | BadRow], ledger: Ledger
) -> None:
    """Some rows through all arrows."""
    rendered: list[tuple[Row, Example, Rendered]] = []
    for row in rows:
        ledger.account.rows_in += 1
        with ledger.row(row.origin):
            if isinstance(row, BadRow):
                raise RowError(row.reason, row.detail)
            found = pipeline.examples(row, dataset)
            ledger.account.expanded += len(found) - 1
            rendered.extend(found)
    texts = ["" if isinstance(example, Tokens) else text.text for _, example, text in rendered]
    encoded = pipeline.tokenizer.encode_rows(texts, [row.origin.place for row, _, _ in rendered])
    for (row, example, text), tokens in zip(rendered, encoded, strict=True):
        with ledger.row(row.origin):
            masked = pipeline.mask(example, text, tokens, dataset, number=row.origin.row)
            sample, whole = pipeline.sample(row, masked), Piece.whole(row, masked)
            strategy = cfg.excess_length_strategy
            if strategy == "raise" and whole.stop > cfg.sequence_len:
                ledger.refuse(whole.stop, price(whole, example, dataset, pipeline))
                continue
            pieces = fit(whole, example, dataset, pipeline, strategy)
            minima = None if cfg.dataset_near_deduplication is None else minima_of(row.values, dataset.field_tools)
            kept = ShardRow(sample, whole.stop, 0, digest_of(sample), b"", minima)
            ledger.keep(kept, [piece.of(pipeline.sample(piece.row, piece.masked)) for piece in pieces])
