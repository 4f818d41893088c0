"""Plain text, all of it trained."""

from __future__ import annotations

from sft_data.format.column import text_column
from sft_data.row import Row
from sft_schema.config import DatasetConfig
from sft_schema.record import Segment, Segments


def completion(row: Row, cfg: DatasetConfig) -> Segments:
    """One trained segment; the end token follows in rendering."""
    text = text_column(row, cfg.field)
    return Segments(segments=(Segment(text=text, train=True, role="assistant", field=cfg.field),))
