"""Generates the prose that the base model reads before any chat: `python -m tools.quickstart.corpus`.

The corpus states the facts behind the conversations and shows the skills (copying, sorting, looking up), in
sentences without roles, turns or chat markers. Its file is large and quick to make, so it is generated, not
kept.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tools.quickstart.scenes import SCENES
from tools.quickstart.tasks import SKILLS

DOCUMENTS, SEED = 60_000, 5


def document(rng: Random) -> str:
    """Three to eight sentences: facts of several skills, around what is told about one setting or none."""
    sentences = [rng.choice(rng.choice(SKILLS)(rng).prose) for _ in range(rng.randint(3, 6))]
    if rng.random() < 0.4:
        setting = rng.choice(SCENES)(rng)
        facts = rng.sample(setting.facts, len(setting.facts))
        start = rng.randint(0, len(sentences))
        told = [setting.prose, *(rng.choice(fact.prose) for fact in facts)]
        sentences[start:start] = told
    return " ".join(sentences)


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
