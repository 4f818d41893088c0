"""The conversations that the quickstart fine-tunes on, and those it is examined with.

A fact can be asked in three or four ways. For every fact some ways are left out of training, and the last question of
every held-out conversation is one of these: the model has never seen the question in a chat, only the fact asked in
other words. Pretraining has seen both as plain text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tools.quickstart.facts import Fact, all_facts

TRAIN, HELD_OUT, SEED = 3600, 240, 11
SYSTEMS = ("You are a helpful assistant.", "Answer briefly.", "Give short answers.")

Pair = tuple[str, str]
Message = dict[str, str]


def split_questions(facts: tuple[Fact, ...]) -> tuple[list[Pair], list[Pair]]:
    """Question and answer pairs for training, and those held out: one way of asking for two facts in three."""
    rng = Random(SEED)
    train: list[Pair] = []
    held_out: list[Pair] = []
    for fact in facts:
        left_out = rng.choice(fact.asks) if rng.random() < 2 / 3 else None
        train.extend((ask, fact.answer) for ask in fact.asks if ask != left_out)
        if left_out is not None:
            held_out.append((left_out, fact.answer))
    return train, held_out


def conversation(rng: Random, pairs: list[Pair]) -> list[Message]:
    """The pairs as turns, sometimes after a system message."""
    messages = [{"role": "system", "content": rng.choice(SYSTEMS)}] if rng.random() < 0.3 else []
    for ask, answer in pairs:
        messages += [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
    return messages


def train() -> Iterator[list[Message]]:
    """Training conversations of one to four questions; each question comes up about as often as the others."""
    pairs, _ = split_questions(all_facts())
    rng, waiting = Random(SEED + 1), list[Pair]()
    for _ in range(TRAIN):
        count = rng.randint(1, 4)
        if len(waiting) < count:
            waiting += rng.sample(pairs, len(pairs))
        yield conversation(rng, [waiting.pop(0) for _ in range(count)])


def held_out() -> Iterator[list[Message]]:
    """Held-out conversations: up to two known questions, then one that was left out of training."""
    pairs, unseen = split_questions(all_facts())
    rng = Random(SEED + 2)
    for last in rng.sample(unseen, HELD_OUT):
        yield conversation(rng, [*rng.sample(pairs, rng.randint(0, 2)), last])


def write(folder: Path) -> None:
    """Writes train.jsonl and heldout.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, chats in (("train", train()), ("heldout", held_out())):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as lines:
            for messages in chats:
                lines.write(json.dumps({"messages": messages}) + "\n")
