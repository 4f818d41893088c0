"""Generates the quickstart's conversations: `python -m tools.quickstart.tasks`.

Everything is drawn from seeded `random.Random` objects and the standard library alone, so the same code
gives the same bytes anywhere.

What is held out. A pair is one user message and the short answer to it. A hash of the pair's text puts
about one pair in ten aside. No training conversation contains such a pair, at any position and in either
style (short or whole sentence); every held-out conversation ends with one. So the final (question, answer)
of a held-out conversation never occurs in the training file. The fact behind it may well: the training file
can ask for the same sum in other words, and the plain-text corpus of the base model states facts without
regard to the split. What is measured is whether fine-tuning taught the model to answer questions in chats
it has not seen, not whether it discovered arithmetic.

Questions about a price list or a person are held out together with their answer alone, not with the list:
the answer can only come from the conversation, so another list is another problem.
"""

import argparse
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tools.quickstart.calendar_skills import CALENDAR_SKILLS
from tools.quickstart.fact import Fact, Scene, Setting, Skill
from tools.quickstart.number_skills import NUMBER_SKILLS
from tools.quickstart.scenes import SCENES
from tools.quickstart.word_skills import WORD_SKILLS

SKILLS: tuple[Skill, ...] = (*CALENDAR_SKILLS, *NUMBER_SKILLS, *WORD_SKILLS)
TRAIN_SIZE, TRAIN_SEED = 3200, 17
HELDOUT_SIZE, HELDOUT_SEED = 204, 71

SHORT_STYLE = ("You are a helpful assistant.", "Answer briefly.", "Keep your answers short.")
SENTENCE_STYLE = ("Answer in whole sentences.", "You are a teacher. Use whole sentences.")

Message = dict[str, str]


@dataclass(frozen=True)
class Pair:
    """One user message with its answer in both styles."""

    question: str
    answer: str
    sentence: str

    @property
    def held_out(self) -> bool:
        """Whether the pair is reserved for the held-out file."""
        digest = hashlib.sha256(f"{self.question}\n{self.answer}".encode()).digest()
        return digest[0] < 26


@dataclass(frozen=True)
class Frame:
    """The opening of a conversation: what stands before its pairs, and how they are to be answered."""

    messages: tuple[Message, ...]
    whole_sentences: bool
    setting: Setting | None
    told_with_question: bool

    def answered(self, pair: Pair) -> list[Message]:
        """The pair as two messages in the style of this conversation."""
        content = pair.sentence if self.whole_sentences else pair.answer
        return [{"role": "user", "content": pair.question}, {"role": "assistant", "content": content}]


def open_frame(rng: Random, setting: Setting | None) -> Frame:
    """Draws a style and, where there is a setting, the place that tells it."""
    whole = rng.random() < 0.25
    style = rng.choice(SENTENCE_STYLE) if whole else rng.choice((None, None, *SHORT_STYLE))
    place = rng.choice(("turn", "question", "system" if setting and setting.by_system else "turn"))
    system = [style] if style else []
    turns: list[Message] = []
    if setting and place == "system":
        system.append(setting.told)
    elif setting and place == "turn":
        turns = [{"role": "user", "content": setting.told}, {"role": "assistant", "content": setting.reply}]
    if system:
        turns.insert(0, {"role": "system", "content": " ".join(system)})
    return Frame(tuple(turns), whole, setting, setting is not None and place == "question")


def ask(rng: Random, fact: Fact, told: str = "") -> Pair:
    """One way to ask for a fact, after what the same message tells."""
    question = rng.choice(fact.questions)
    return Pair(f"{told} {question}" if told else question, fact.answer, fact.sentence)


def draw(rng: Random, source: Skill | Setting, *, held_out: bool, told: str = "") -> Pair | None:
    """A pair from the wanted side of the split, or None where forty draws found none."""
    for _ in range(40):
        fact = rng.choice(source.facts) if isinstance(source, Setting) else source(rng)
        pair = ask(rng, fact, told)
        if pair.held_out is held_out:
            return pair
    return None


def conversation(rng: Random, topic: Skill | Scene, *, held_out: bool) -> list[Message] | None:
    """A conversation of one to four pairs, the last one about the topic.

    Args:
        rng: the only source of chance.
        topic: a skill or a scene. A scene is told before the first pair, or in its message.
        held_out: the side of the split that the last pair is on. Those before it are training pairs.

    Returns:
        The messages, or None where the draw offered no pair on the wanted side.
    """
    scene = topic(rng)
    setting = scene if isinstance(scene, Setting) else None
    frame = open_frame(rng, setting)
    length = rng.choice((1, 2, 2, 3, 3, 4))
    messages = list(frame.messages)
    for position in range(length):
        last = position == length - 1
        if setting:
            source: Skill | Setting = setting if last or rng.random() < 0.6 else rng.choice(SKILLS)
        else:
            source = topic if last else rng.choice(SKILLS)  # type: ignore[assignment]
        told = setting.told if setting and frame.told_with_question and position == 0 else ""
        pair = draw(rng, source, held_out=held_out and last, told=told)
        if pair is None:
            return None
        messages += frame.answered(pair)
    return messages


def conversations(size: int, seed: int, *, held_out: bool) -> Iterator[list[Message]]:
    """Distinct conversations whose last topics take turns, so that every topic has its share."""
    rng, seen, made = Random(seed), set[str](), 0
    topics: tuple[Skill | Scene, ...] = (*SKILLS, *SCENES)
    while made < size:
        messages = conversation(rng, topics[made % len(topics)], held_out=held_out)
        text = json.dumps(messages)
        if messages is None or text in seen:
            continue
        seen.add(text)
        made += 1
        yield messages


def train() -> Iterator[list[Message]]:
    """The conversations to fine-tune on."""
    return conversations(TRAIN_SIZE, TRAIN_SEED, held_out=False)


def heldout() -> Iterator[list[Message]]:
    """The conversations to evaluate on."""
    return conversations(HELDOUT_SIZE, HELDOUT_SEED, held_out=True)


def jsonl(rows: Iterable[list[Message]]) -> str:
    """The rows as JSON lines, each with its messages under one key."""
    return "".join(json.dumps({"messages": row}, ensure_ascii=False) + "\n" for row in rows)


def write(folder: Path) -> None:
    """Writes train.jsonl and heldout.jsonl into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.jsonl").write_text(jsonl(train()), encoding="utf-8")
    (folder / "heldout.jsonl").write_text(jsonl(heldout()), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the quickstart's conversations.")
    parser.add_argument("--out", type=Path, default=Path("examples/quickstart"))
    write(parser.parse_args().out)
