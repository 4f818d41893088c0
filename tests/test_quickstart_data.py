"""The quickstart's data: deterministic, split as documented, right by an oracle that shares no code."""

import calendar
import importlib
import json
import re
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
tasks = importlib.import_module("tools.quickstart.tasks")
make_tokenizer = importlib.import_module("tools.quickstart.make_tokenizer")
make_base = importlib.import_module("tools.quickstart.make_base")

EXAMPLE = ROOT / "examples" / "quickstart"
BASE = EXAMPLE / "base"
SPLITS = ("train", "heldout")
HOSTILE = (
    "",
    " ",
    "  two leading spaces and a tab\t",
    "line\r\nbreaks\n\n",
    "nul \x00 and escape \x1b",
    "h\u00e9llo, a\u0301 combining, \u00bd and \u0661\u0662\u0663",
    "\u65e5\u672c\u8a9e \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001d518",
    "right\u202eto left\ufeff",
    "<|im_start|>system\nwritten by a user<|im_end|><|pad|><|endoftext|><|im_",
    "1234567890 3.14 -7",
)
UNIT_SIZES = {
    "km": 1_000_000, "m": 1000, "cm": 10, "mm": 1, "kg": 1000, "g": 1,
    "seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "weeks": 604800,
    "months": 1, "years": 12, "dozens": 12, "pieces": 1,
}  # fmt: skip


def rows(split: str) -> list[list[dict[str, str]]]:
    lines = (EXAMPLE / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["messages"] for line in lines]


def weekday(name: str, steps: int) -> str:
    return f"{date(2024, 1, 1 + list(calendar.day_name).index(name)) + timedelta(days=steps):%A}"


def month(number: int) -> str:
    return calendar.month_name[(number - 1) % 12 + 1]


def month_of(name: str) -> int:
    return list(calendar.month_name).index(name)


def calendar_answer(question: str) -> str | None:
    numbers = [int(text) for text in re.findall(r"\d+", question)]
    days = [word for word in re.findall(r"\w+", question) if word in calendar.day_name]
    months = [word for word in re.findall(r"\w+", question) if word in list(calendar.month_name)[1:]]
    if days:
        backwards = "before" in question or "ago" in question
        return weekday(days[0], -numbers[0] if backwards else numbers[0])
    if months and "Counting" in question:
        months = months[1:]
    if months:
        return month(month_of(months[0]) + numbers[0]) if numbers else str(month_of(months[0]))
    if "month" in question and numbers and "months" not in question:
        return month(numbers[0])
    return None


def unit_answer(question: str) -> str | None:
    asked = re.search(r"(\d+) (\w+) (?:to|in) (\w+)", question)
    if found := re.fullmatch(r"How many (\w+) are (\d+) (\w+)\?", question):
        small, number, large = found.groups()
    elif asked and {asked[2], asked[3]} <= UNIT_SIZES.keys():
        number, large, small = asked.groups()
    else:
        return None
    return f"{int(number) * UNIT_SIZES[large] // UNIT_SIZES[small]} {small}"


def sum_answer(question: str) -> str | None:
    if not re.search(r"[+-]|plus|minus|^Add \d|^Subtract|^I have", question):
        return None
    low, high = sorted(int(text) for text in re.findall(r"\d+", question))
    takes_away = re.search(r"-|minus|Subtract|give away", question)
    return str(high - low if takes_away else high + low)


def edit_answer(question: str) -> str | None:
    quoted = re.findall(r'"([^"]+)"', question)
    if len(quoted) == 3:
        old, new, text = quoted if question.startswith("Replace") else (*quoted[1:], quoted[0])
        old, new = (new, old) if question.startswith("Write") else (old, new)
        return re.sub(rf"\b{old}\b", new, text)
    if "alphabet" in question or "dictionary" in question:
        return " ".join(sorted(quoted))
    if "capital" in question or "upper" in question:
        return quoted[0].upper()
    if "first" in question or "last" in question:
        return quoted[0].split()[0 if "first" in question else -1]
    if len(quoted) != 2:
        return None
    text, extra = quoted if question.startswith("Write") else quoted[::-1]
    in_front = re.search(r"start|before|front", question)
    return f"{extra} {text}" if in_front else f"{text} {extra}"


def recalled_answer(question: str, context: str) -> str | None:
    if good := re.search(r"\b(?:the )(\w+)(?: cost)?\?$", question):
        return re.findall(rf"\b{good[1]} (\d+)", context)[0]
    told = re.search(r"(?:My name is (\w+) and I live in|I am (\w+) from) (\w+)\.", context)
    if told is None:
        return None
    if re.search(r"name\?|name\.|Who", question):
        return told[1] or told[2]
    return told[3] if re.search(r"live|city|town", question) else None


def pairs(messages: list[dict[str, str]]) -> Iterator[tuple[str, str, str]]:
    """Each question asked, everything said up to and with it, and the assistant's reply."""
    for index, message in enumerate(messages[:-1]):
        if message["role"] == "user":
            context = " ".join(earlier["content"] for earlier in messages[: index + 1])
            yield message["content"], context, messages[index + 1]["content"]


def right_answer(question: str, context: str) -> str | None:
    told = re.compile(r"^(Prices: [^.]*\.|My name is \w+ and I live in \w+\.|I am \w+ from \w+\.) ?")
    question = told.sub("", question)
    if not question:
        return None
    solvers = (edit_answer, calendar_answer, unit_answer, sum_answer)
    found = next((answer for solve in solvers if (answer := solve(question)) is not None), None)
    return found if found is not None else recalled_answer(question, context)


@pytest.mark.parametrize("split", SPLITS)
def test_the_committed_file_is_what_the_generator_gives(split: str) -> None:
    text = (EXAMPLE / f"{split}.jsonl").read_bytes().decode()
    assert text == tasks.jsonl(getattr(tasks, split)()) == tasks.jsonl(getattr(tasks, split)())


@pytest.mark.parametrize("split", SPLITS)
def test_every_answer_agrees_with_the_oracle(split: str) -> None:
    checked = 0
    for messages in rows(split):
        for question, context, reply in pairs(messages):
            answer = right_answer(question, context)
            if answer is None:
                assert reply == "I have noted the prices." or reply.startswith("Hello "), question
                continue
            said = reply.removesuffix(".").removesuffix(" coins").replace('"', "")
            in_sentences = "whole sentences" in messages[0]["content"]
            assert said == answer or (in_sentences and said.endswith(f" {answer}")), (question, reply, answer)
            checked += 1
    assert checked >= len(rows(split))


@pytest.mark.parametrize("split", SPLITS)
def test_conversations_are_well_formed_and_distinct(split: str) -> None:
    conversations = rows(split)
    assert len({json.dumps(messages) for messages in conversations}) == len(conversations)
    for messages in conversations:
        roles = [message["role"] for message in messages]
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert turns
        assert all(message["content"] for message in messages)


def test_no_final_pair_of_the_held_out_file_occurs_in_training() -> None:
    def question_and_answer(question: str, context: str) -> tuple[str, str | None]:
        return question, right_answer(question, context)

    trained = {question_and_answer(q, context) for messages in rows("train") for q, context, _ in pairs(messages)}
    finals = [list(pairs(messages))[-1] for messages in rows("heldout")]
    assert not {question_and_answer(q, context) for q, context, _ in finals} & trained
    assert all(right_answer(q, context) is not None for q, context, _ in finals)
    assert not {(q, reply) for q, _, reply in finals} & {
        (q, reply) for messages in rows("train") for q, _, reply in pairs(messages)
    }


def test_the_training_file_stays_small() -> None:
    assert (EXAMPLE / "train.jsonl").stat().st_size < 1_500_000
    assert (BASE / "model.safetensors").stat().st_size < 8_000_000


def test_the_committed_tokenizer_and_config_are_what_the_scripts_write(tmp_path: Path) -> None:
    make_tokenizer.write(tmp_path)
    make_base.write(tmp_path)
    trained, committed = (Tokenizer.from_file(str(at / "tokenizer.json")) for at in (tmp_path, BASE))
    assert trained.get_vocab() == committed.get_vocab()
    for path in set(tmp_path.iterdir()) - {tmp_path / "tokenizer.json"}:
        assert path.read_text(encoding="utf-8") == (BASE / path.name).read_text(encoding="utf-8"), path.name


def test_auto_tokenizer_gives_the_ids_of_the_raw_tokenizer() -> None:
    raw, auto = Tokenizer.from_file(str(BASE / "tokenizer.json")), AutoTokenizer.from_pretrained(BASE)
    assert auto.get_vocab() == raw.get_vocab()
    assert (auto.eos_token, auto.pad_token) == ("<|im_end|>", "<|pad|>")
    texts = [auto.apply_chat_template(messages, tokenize=False) for messages in rows("heldout")]
    for text in (*texts, *HOSTILE):
        assert auto(text)["input_ids"] == raw.encode(text).ids


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_survives_the_tokenizer(text: str) -> None:
    raw = Tokenizer.from_file(str(BASE / "tokenizer.json"))
    assert raw.decode(raw.encode(text).ids, skip_special_tokens=False) == text


def test_digits_stand_alone() -> None:
    raw = Tokenizer.from_file(str(BASE / "tokenizer.json"))
    assert raw.encode("1234 km").tokens[:4] == ["1", "2", "3", "4"]


def test_the_template_renders_plain_chatml() -> None:
    auto = AutoTokenizer.from_pretrained(BASE)
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    text = auto.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
