"""The text that the base model is pretrained on: pages of statements and of a textbook's questions and answers.

Plain prose without roles, turns or chat markers: how to answer in a chat is what fine-tuning teaches.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tools.quickstart.facts import Fact, all_facts

DOCUMENTS, SEED = 40_000, 5
SHARES = {"day": 1, "month": 1, "unit": 1, "sum": 2, "edit": 1, "lookup": 1}
"""How often a page keeps to one skill: sums, which combine two numbers, more often."""


def documents(count: int = DOCUMENTS) -> Iterator[str]:
    """Texts of four to eight facts each; the same ones at every call."""
    rng, facts = Random(SEED), all_facts()
    by_skill: dict[str, list[Fact]] = {}
    for fact in facts:
        by_skill.setdefault(fact.skill, []).append(fact)
    for _ in range(count):
        (skill,) = rng.choices(list(SHARES), list(SHARES.values()))
        pool = by_skill[skill] if rng.random() < 0.6 else facts
        yield " ".join(line(rng, rng.choice(pool)) for _ in range(rng.randint(4, 8)))


def line(rng: Random, fact: Fact) -> str:
    """A statement of the fact, or a question with its answer."""
    return rng.choice(fact.says) if rng.random() < 0.5 else f"{rng.choice(fact.asks)} {fact.answer}."


def write(file: Path) -> None:
    """Writes the corpus as `{"text": ...}` lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as lines:
        for text in documents():
            lines.write(json.dumps({"text": text}) + "\n")
