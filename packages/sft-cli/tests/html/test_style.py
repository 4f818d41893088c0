"""Contrast of the report's colours, as WCAG 2.2 defines it (success criterion 1.4.3: 4.5 to 1 for text)."""

from __future__ import annotations

import re
from importlib import resources

import pytest

CSS = (resources.files("sft_cli.html") / "templates" / "style.css").read_text(encoding="utf-8")
LIGHT, DARK = (dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block)) for block in CSS.split("@media", 2)[:2])
TEXT_ON = [
    *[(text, ground) for text in ("text", "muted", "link") for ground in ("page", "surface")],
    *[(text, "surface") for text in ("train", "eval", "wrong", "system", "user", "assistant", "tool", "other")],
    *[(text, "page") for text in ("train", "wrong", "user")],
    ("text", "train-fill"),
]


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXT_ON)
def test_text_has_the_contrast_of_level_aa(theme: dict[str, str], text: str, ground: str) -> None:
    assert contrast(theme[text], theme[ground]) >= 4.5


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_curves_have_the_contrast_of_graphics(theme: dict[str, str]) -> None:
    assert contrast(theme["train"], theme["surface"]) >= 3
    assert contrast(theme["eval"], theme["surface"]) >= 3


def test_both_themes_define_every_colour() -> None:
    assert LIGHT.keys() == DARK.keys()
    assert set(re.findall(r"var\(--([a-z-]+)\)", CSS)) <= LIGHT.keys() | {"role"}


def test_the_style_sheet_loads_nothing() -> None:
    assert "url(" not in CSS
    assert "@import" not in CSS
    assert "</style" not in CSS
