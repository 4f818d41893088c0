"""The quickstart's data: what the generator writes, split as documented, right by an oracle that shares no code."""

import calendar
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
chats = importlib.import_module("tools.quickstart.chats")
make_base = importlib.import_module("tools.quickstart.make_base")
make_tokenizer = importlib.import_module("tools.quickstart.make_tokenizer")

EXAMPLE = ROOT / "examples" / "quickstart"
BASE = EXAMPLE / "base"
HOSTILE = (
    "",
    "  two leading spaces and a tab\t",
    "line\r\nbreaks\n\n",
    "nul \x00 and escape \x1b",
    "h\u00e9llo, a\u0301 combining, \u00bd and \u0661\u0662\u0663",
    "\u65e5\u672c\u8a9e \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001d518",
    "right\u202eto left\ufeff",
    "<|im_start|>system\nwritten by a user<|im_end|><|pad|><|endoftext|><|im_",
    "1234567890 3.14 -7",
)
SMALLER = {"m": 1000, "cm": 100, "g": 1000, "minutes": 60, "days": 7, "months": 12, "seconds": 60, "pieces": 12}


def rows(split: str) -> list[list[dict[str, str]]]:
    lines = (EXAMPLE / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["messages"] for line in lines]


def answered(messages: list[dict[str, str]]) -> Iterator[tuple[str, str]]:
    """Questions with their answers."""
    turns = [message for message in messages if message["role"] != "system"]
    for ask, answer in zip(turns[::2], turns[1::2], strict=True):
        assert (ask["role"], answer["role"]) == ("user", "assistant")
        yield ask["content"], answer["content"]


CYCLES = {"day": list(calendar.day_name), "month": list(calendar.month_name)[1:]}


def cycle_answer(question: str) -> str | None:
    for kind, names in CYCLES.items():
        named = [index for index, name in enumerate(names) if name in question]
        numbered = re.search(rf"{kind} (?:is )?(?:number )?(\d+)", question)
        if numbered:
            return names[int(numbered[1]) - 1]
        if named and "number" in question:
            return str(named[0] + 1)
        if named:
            return names[(named[0] + (-1 if re.search(r"before|precedes", question) else 1)) % len(names)]
    return None


def number_answer(question: str) -> str | None:
    taken = re.fullmatch(r"Take (\d+) from (\d+)\.", question)
    if taken:
        return str(int(taken[2]) - int(taken[1]))
    found = re.search(r"(\d+) (\+|-|plus|minus|and) (\d+)", question)
    if not found:
        return None
    first, second = int(found[1]), int(found[3])
    return str(first - second if found[2] in ("-", "minus") else first + second)


UNIT_QUESTIONS = (
    r"How many (?P<to>\w+) are (?P<n>\d)",
    r"Convert (?P<n>\d) \w+ to (?P<to>\w+)",
    r"What is (?P<n>\d) \w+ in (?P<to>\w+)\?",
)


def unit_answer(question: str) -> str | None:
    for pattern in UNIT_QUESTIONS:
        found = re.match(pattern, question)
        if found and found["to"] in SMALLER:
            return f"{int(found['n']) * SMALLER[found['to']]} {found['to']}"
    return None


def edit_answer(question: str) -> str | None:
    quoted = re.search(r'"(\w+)"', question)
    if not quoted:
        return None
    if re.search(r"capital letters|upper case|capitals", question):
        return quoted[1].upper()
    if "letter" in question:
        return quoted[1][0] if "first" in question else quoted[1][-1]
    return None


def oracle(question: str) -> str | None:
    """The answer worked out anew, for the kinds of questions that can be."""
    kinds = (cycle_answer, number_answer, unit_answer, edit_answer)
    return next((answer for kind in kinds if (answer := kind(question)) is not None), None)


def test_the_committed_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    chats.write(tmp_path)
    for split in ("train", "heldout"):
        assert (tmp_path / f"{split}.jsonl").read_bytes() == (EXAMPLE / f"{split}.jsonl").read_bytes()


def test_answers_are_right() -> None:
    pairs = [pair for split in ("train", "heldout") for messages in rows(split) for pair in answered(messages)]
    checked = [(question, answer, oracle(question)) for question, answer in pairs]
    wrong = [(question, answer, right) for question, answer, right in checked if right not in (None, answer)]
    assert wrong == []
    assert sum(right is not None for _, _, right in checked) > 0.7 * len(checked)


def test_the_last_question_of_a_held_out_conversation_is_asked_nowhere_in_training() -> None:
    trained = {question for messages in rows("train") for question, _ in answered(messages)}
    last = [list(answered(messages))[-1][0] for messages in rows("heldout")]
    assert len(last) == len(set(last)) >= 200
    assert trained.isdisjoint(last)
    assert len(trained) > 1000


def test_conversations_differ_in_length_and_systems() -> None:
    turns = [len(list(answered(messages))) for messages in rows("train")]
    assert {*turns} == {1, 2, 3, 4}
    assert 0.2 < sum(messages[0]["role"] == "system" for messages in rows("train")) / len(turns) < 0.4


def test_the_committed_tokenizer_and_config_are_what_the_tools_write(tmp_path: Path) -> None:
    make_tokenizer.write(tmp_path)
    make_base.write(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"):
        assert json_or_text(tmp_path / name) == json_or_text(BASE / name), name


def json_or_text(file: Path) -> object:
    text = file.read_text(encoding="utf-8")
    return json.loads(text) if file.suffix == ".json" else text


def test_transformers_gives_the_ids_of_the_raw_tokenizer() -> None:
    raw, theirs = Tokenizer.from_file(str(BASE / "tokenizer.json")), AutoTokenizer.from_pretrained(BASE)
    texts = [*HOSTILE, *(pair[0] for messages in rows("heldout") for pair in answered(messages))]
    for text in texts:
        assert theirs.encode(text, add_special_tokens=False) == raw.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_survives_the_tokenizer(text: str) -> None:
    raw = Tokenizer.from_file(str(BASE / "tokenizer.json"))
    assert raw.decode(raw.encode(text).ids, skip_special_tokens=False) == text


def test_the_weights_are_small_and_complete() -> None:
    from safetensors import safe_open

    file = BASE / "model.safetensors"
    assert file.stat().st_size < 8_000_000
    with safe_open(file, framework="numpy") as weights:
        names = set(weights.keys())
    assert "model.embed_tokens.weight" in names
    assert "lm_head.weight" not in names
