"""Rows of ready-made pieces of text, each with a label that says whether it is trained."""

from __future__ import annotations

from typing import Any, cast

from sft_data.format.training import read_weight
from sft_data.row import Row, RowError
from sft_schema.config import DatasetConfig
from sft_schema.record import Segment, Segments


def input_output(row: Row, cfg: DatasetConfig) -> Segments:
    """The pieces of `segments` as they are: begin, end and control tokens stand in them, and none are added.

    Raises:
        RowError: `missing_column`, `wrong_type`, `bad_segment` or `bad_training_flag`.
    """
    given: Any = row.values.get("segments")
    if given is None:
        raise RowError("missing_column", f"no 'segments'; the row has {sorted(row.values)}")
    if not isinstance(given, list) or not given:
        raise RowError("wrong_type", "'segments' is not a list with pieces in it")
    pieces = [_piece(each, index) for index, each in enumerate(cast("list[Any]", given))]
    return Segments(segments=tuple(pieces), complete=True)


def _piece(value: Any, index: int) -> Segment:
    values = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    text, label = values.get("text"), values.get("label")
    weight = 1.0 if values.get("weight") is None else read_weight(values["weight"], f"'weight' of segment {index}")
    if not isinstance(text, str) or not isinstance(label, bool):
        raise RowError(
            "bad_segment",
            f"segment {index} has label {label!r} and text {str(text)[:80]!r}, not {{label: true or false, text}}",
        )
    train, role = label and weight > 0, "assistant" if label else "user"
    return Segment(text=text, train=train, role=role, field=f"segments.{index}", weight=weight or 1.0)
