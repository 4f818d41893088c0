from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from sft_cli.token_view import legend, print_row
from sft_data import InspectedRow


def shown(row: InspectedRow, *, terminal: bool, width: int = 80) -> str:
    file = io.StringIO()
    colours = "standard" if terminal else "auto"
    console = Console(file=file, force_terminal=terminal, width=width, highlight=False, color_system=colours)
    console.print(legend(plain=not console.is_terminal), soft_wrap=True)
    print_row(console, row)
    return file.getvalue()


def without_styles(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_counts_labels_and_origins_are_shown(row: InspectedRow) -> None:
    text = shown(row, terminal=False)
    assert "row 3: 2 samples, 52 tokens, 16 trained (30.8%)" in text
    assert "sample 0  a.jsonl:17  20 tokens, 4 trained" in text
    assert [line for line in text.splitlines() if line.startswith("-- ")] == [
        "-- 0 system --",
        "-- 1 user --",
        "-- 2 assistant --",
        "-- 0 user --",
        "-- 1 assistant --",
    ]


def test_trained_text_is_bracketed_where_there_are_no_styles(row: InspectedRow) -> None:
    text = shown(row, terminal=False)
    assert "\x1b" not in text
    assert "<|im_start|>assistant⏎\n⟦Hello!⋯<|im_end|>⟧⏎\n" in text
    assert "⟦trained⟧" in text


def test_trained_text_is_bold_and_underlined_in_a_terminal(row: InspectedRow) -> None:
    text = shown(row, terminal=True)
    assert "\x1b[1;4;32mHello\x1b[0m" in text
    assert "\x1b[2mBe brief.\x1b[0m" in text
    assert "⟦" not in text


def test_no_color_keeps_bold_and_underline(row: InspectedRow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(row, terminal=True)
    assert "\x1b[1;4mHello\x1b[0m" in text
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", text)


def test_nothing_is_wrapped_cut_or_escaped(row: InspectedRow) -> None:
    wide = without_styles(shown(row, terminal=True, width=10_000))
    assert without_styles(shown(row, terminal=True, width=20)) == wide
    assert "<script>alert(1)</script></style><style>*{display:none}" in wide
    assert "two spaces" in wide
    assert "tab  two" in wide


def test_hostile_characters_do_not_reach_the_terminal(row: InspectedRow) -> None:
    text = without_styles(shown(row, terminal=True))
    assert not set(text) & set("\x00\x07\x1b\x7f\r\t\u202e\u202c\u2028\u2029\ufeff\ud800")
    assert "␀␛[31mred␇␡" in text
    text.encode("utf-8")
