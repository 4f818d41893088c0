from __future__ import annotations

import unicodedata

import pytest

from sft_cli.visible import token_text, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text  with spaces", "plain text  with spaces"),
        ("two\nlines", "two\nlines"),
        ("\x00\x1b[31m\x7f\t\r", "␀␛[31m␡␉␍"),
        ("\u202eabc\u2066", "⟨U+202E⟩abc⟨U+2066⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("\u2028\u0085\ufeff", "⟨U+2028⟩⟨U+0085⟩⟨U+FEFF⟩"),
        ("naïve 数 🙂 שלום é", "naïve 数 🙂 שלום é"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("", ""),
    ],
)
def test_invisible_characters_are_spelled_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_no_character_of_unicode_comes_out_as_a_control_or_surrogate() -> None:
    everything = "".join(map(chr, range(0x110000)))
    shown = visible(everything)
    assert {unicodedata.category(character) for character in shown.replace("\n", "")}.isdisjoint(
        {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    )
    shown.encode("utf-8")


def test_a_newline_of_a_token_is_marked_and_kept() -> None:
    assert token_text("a\n\nb\r\n") == "a⏎\n⏎\nb␍⏎\n"


def test_a_token_without_text_is_seen() -> None:
    assert token_text("") == "⋯"
