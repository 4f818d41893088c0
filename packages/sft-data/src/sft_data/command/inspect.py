"""`sft-data inspect`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from itertools import groupby

from sft_data.command.prepare import prepared_data
from sft_data.inspection import InspectedRow, inspect_rows

_MARKS = ("⟦", "⟧")
"""Around trained text."""


def inspect_command(given: argparse.Namespace) -> int:
    """Shows packed rows: trained text in brackets, control characters spelled out."""
    cfg, _ = prepared_data(given)
    rows = inspect_rows(cfg, count=given.count, row=given.row)
    if given.json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
        return 0
    for row in rows:
        sys.stdout.write(_text(row))
    return 0


def _text(row: InspectedRow) -> str:
    trained = sum(token.trained for token in row.tokens)
    lines = [f"row {row.row}: {len(row.origins)} samples, {len(row.tokens)} tokens, {trained} trained\n"]
    for sample, tokens in groupby(row.tokens, key=lambda token: token.sample):
        lines.append(f"\nsample {sample}  {row.origins[sample].place}\n")
        for is_trained, run in groupby(tokens, key=lambda token: token.trained):
            text = "".join(_visible(token.text) for token in run)
            lines.append(f"{_MARKS[0]}{text}{_MARKS[1]}" if is_trained else text)
        lines.append("\n")
    return "".join(lines) + "\n"


def _visible(text: str) -> str:
    """The text with newlines kept and other control and format characters spelled out."""
    return "".join(each if each.isprintable() or each == "\n" else f"\\u{{{ord(each):x}}}" for each in text)
