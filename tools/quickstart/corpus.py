"""Generates the prose that the base model reads before any chat: `python -m tools.quickstart.corpus`.

Three kinds of documents: statements of facts; a textbook's questions, each followed by its answer; and drills that say
a few words or numbers twice, because copying is what lists, edits and look-ups are made of, and it is learnt late where
it is rare. None has roles, turns or chat markers. The questions keep to the training side of the split in tasks.py, so
the base model has not read a held-out question with its answer either. Statements know no split.

The file is large and quick to make, so it is generated, not kept.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tools.quickstart.fact import Setting
from tools.quickstart.scenes import SCENES
from tools.quickstart.tasks import SKILLS, draw
from tools.quickstart.words import CITIES, GOODS, NAMES, SORTABLE, WORDS

DOCUMENTS, SEED = 70_000, 5


def statements(rng: Random) -> str:
    """Facts of several skills, around what is told about one setting or none."""
    sentences = [rng.choice(rng.choice(SKILLS)(rng).prose) for _ in range(rng.randint(3, 6))]
    if rng.random() < 0.3:
        setting = rng.choice(SCENES)(rng)
        facts = rng.sample(setting.facts, len(setting.facts))
        start = rng.randint(0, len(sentences))
        sentences[start:start] = [setting.prose, *(rng.choice(fact.prose) for fact in facts)]
    return " ".join(sentences)


def textbook(rng: Random) -> str:
    """Questions with short or whole answers, some of them about a setting told at the start."""
    setting = rng.choice(SCENES)(rng) if rng.random() < 0.3 else None
    whole = rng.random() < 0.3
    parts = [setting.told] if setting else []
    for _ in range(rng.randint(3, 6)):
        source = setting if isinstance(setting, Setting) and rng.random() < 0.6 else rng.choice(SKILLS)
        pair = draw(rng, source, held_out=False)
        if pair:
            parts.append(f"{pair.question} {pair.sentence if whole else pair.answer + '.'}")
    return " ".join(parts)


def drill(rng: Random) -> str:
    """A few words or numbers, once more, and once more in capitals where they are words."""
    kind = rng.choice((WORDS, WORDS, WORDS, SORTABLE, GOODS, NAMES + CITIES, None))
    size = rng.randint(2, 6)
    items = rng.sample(kind, size) if kind else [str(rng.randint(2, 99)) for _ in range(size)]
    text = " ".join(items)
    form = rng.choice(('"{0}" is "{0}".', "{0}, {0}.", 'Read "{0}", write "{0}".', "{0}. Again: {0}."))
    return form.format(text)


def document(rng: Random) -> str:
    """One document of one of the three kinds."""
    kind = rng.random()
    if kind < 0.4:
        return statements(rng)
    return textbook(rng) if kind < 0.75 else " ".join(drill(rng) for _ in range(rng.randint(2, 4)))


def documents(size: int = DOCUMENTS, seed: int = SEED) -> Iterator[str]:
    """The corpus, one document at a time."""
    rng = Random(seed)
    for _ in range(size):
        yield document(rng)


def write(path: Path, size: int = DOCUMENTS) -> None:
    """Writes the corpus as JSON lines with a text field."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps({"text": text}) + "\n" for text in documents(size))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the base model's corpus.")
    parser.add_argument("--out", type=Path, default=Path("outputs/quickstart-base/corpus.jsonl"))
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    options = parser.parse_args()
    write(options.out, options.documents)
