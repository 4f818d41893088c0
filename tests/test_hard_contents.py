"""Contents that break masks found by searching or by comparing renders, on real tokenizers and templates.

What must be trained is written down here turn by turn, family by family, without any of our code.
The material is not shipped with the project: it is expected beside the checkout in ../shared/material.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from sft_data import prepare
from sft_schema import IGNORE_INDEX, parse_config

MATERIAL = Path(__file__).parents[2] / "shared" / "material" / "tokenizers"
TURN = {
    "llama3.1": "{}<|eot_id|>",
    "mistral-v3": " {}</s>",
    "phi-3.5-mini": "{}<|end|>",
    "qwen3": "{}<|im_end|>",
    "gemma2-fmt": "{}<end_of_turn>",
}
"""What the model itself writes of an assistant's turn; `{}` is the content as the template prints it."""
TRIMMING = {"llama3.1", "gemma2-fmt"}
"""Templates that strip white space off contents."""

pytestmark = pytest.mark.skipif(not MATERIAL.is_dir(), reason="no ../shared/material beside the checkout")

CONTENTS = {
    "brackets": ["[[ a ]]", "]] b [[", "[/INS"],
    "repeated": ["same", "same", "same"],
    "inside another": ["a", "a b", "a b a"],
    "role words": ["assistant", "user", "assistant\nuser"],
    "zero width": ["\u200bx\u200b", "\ufeffy", "z\u2060"],
    "right to left": ["\u202eabc\u202c", "שלום", "مرحبا بالعالم"],
    "wide": ["你好，世界", "👩‍👩‍👧‍👦", "é\u0301e\u0301"],
    "jinja": ["{{ messages }}", "{% endfor %}", "{# x #}"],
    "json": ['{"role": "assistant"}', "[]", "null"],
    "newlines inside": ["a\n\n\nb", "a\r\nb", "a\tb"],
    "two hundred turns": [f"answer {number}" if number % 3 else "again" for number in range(100)],
    "a megabyte": ["short", "The quick brown fox jumps over it. " * 30_000 + "end", "short"],
}


@dataclass(frozen=True)
class Family:
    """A real tokenizer and template, with all conversations prepared."""

    name: str
    samples: dict[str, Any]
    tokenizer: Any


def messages_of(answers: list[str]) -> list[dict[str, str]]:
    return [
        message
        for answer in answers
        for message in ({"role": "user", "content": answer}, {"role": "assistant", "content": answer})
    ]


@pytest.fixture(scope="module", params=TURN)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    """All conversations prepared with one family's tokenizer and template."""
    name, folder = request.param, tmp_path_factory.mktemp("family")
    rows = [json.dumps({"messages": messages_of(answers)}) + "\n" for answers in CONTENTS.values()]
    (folder / "a.jsonl").write_text("".join(rows), encoding="utf-8")
    cfg = parse_config(
        json.dumps(
            {
                "base_model": str(MATERIAL / name),
                "datasets": [{"path": str(folder / "a.jsonl")}],
                "learning_rate": 1e-4,
                "sequence_len": 1 << 21,
                "special_tokens_in_content": "text",
                "on_bad_row": "error",
                "dataset_prepared_path": str(folder / "prepared"),
            }
        )
    )
    samples = dict(zip(CONTENTS, prepare(cfg).train, strict=True))
    return Family(name, samples, AutoTokenizer.from_pretrained(MATERIAL / name))


def trained_runs(sample: Any, tokenizer: Any) -> list[str]:
    """The text of each unbroken run of trained tokens."""
    runs: list[list[int]] = [[]]
    for token, label in zip(sample.input_ids.tolist(), sample.labels.tolist(), strict=True):
        if label != IGNORE_INDEX:
            runs[-1].append(token)
        elif runs[-1]:
            runs.append([])
    return [tokenizer.decode(run, clean_up_tokenization_spaces=False) for run in runs if run]


def expected(family: str, answers: list[str]) -> list[str]:
    printed = [answer.strip() if family in TRIMMING else answer for answer in answers]
    turns = [TURN[family].format("\0").replace("\0", answer) for answer in printed]
    if family == "qwen3":  # the last answer is preceded by an empty think block, which the model has to write
        turns[-1] = "<think>\n\n</think>\n\n" + turns[-1]
    return turns


def without_blanks(text: str) -> str:
    """Phi's control tokens swallow white space and Mistral's decoder adds some; Qwen's tokenizer composes letters.

    At a border it belongs to header or content as the tokens fall, which is the golden masks' business.
    """
    return re.sub(r"\s", "", unicodedata.normalize("NFC", text))


@pytest.mark.parametrize("case", CONTENTS)
def test_the_answers_and_their_stop_tokens_are_trained(family: Family, case: str) -> None:
    answers, sample = CONTENTS[case], family.samples[case]
    found = [without_blanks(run) for run in trained_runs(sample, family.tokenizer)]
    assert found == [without_blanks(turn) for turn in expected(family.name, answers)]
    rendered = family.tokenizer.apply_chat_template(messages_of(answers), tokenize=False)
    whole = family.tokenizer.decode(sample.input_ids.tolist(), clean_up_tokenization_spaces=False)
    assert without_blanks(whole) == without_blanks(rendered)


def test_the_long_ones_are_long() -> None:
    assert len(messages_of(CONTENTS["two hundred turns"])) == 200
    assert len(CONTENTS["a megabyte"][1]) > 1 << 20
