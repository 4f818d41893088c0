"""Text with its invisible characters made visible, safe to print in a terminal and to put on a page.

A token can hold anything: a NUL, an escape sequence that would recolour the terminal, a mark that turns the
reading direction around, half of a surrogate pair. None of these may reach the screen as they are.
"""

from __future__ import annotations

import unicodedata

RETURN, NOTHING = "⏎", "⋯"
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20)} | {0x7F: "␡"}
_KEPT = {ord("\n"): "\n"}
_HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def visible(text: str) -> str:
    """`text` with control, format and surrogate characters spelled out; newlines and spaces are kept.

    C0 controls become their pictures (`␀`, `␛`, `␉`), all others their code point (`⟨U+202E⟩`).
    """
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(_visible_character(character) for character in text)


def token_text(text: str) -> str:
    """`visible(text)` with every newline marked: `⏎` stands before the newline itself.

    A token without text of its own is `⋯`: one character can take several tokens, and the first of them has it.
    """
    return visible(text).replace("\n", f"{RETURN}\n") or NOTHING


def _visible_character(character: str) -> str:
    code = ord(character)
    if code in _KEPT:
        return character
    if code in _PICTURES:
        return _PICTURES[code]
    if unicodedata.category(character) in _HIDDEN_CATEGORIES:
        return f"⟨U+{code:04X}⟩"
    return character
