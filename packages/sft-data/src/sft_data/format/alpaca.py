"""Instruction rows: a prompt text made of columns, and an answer. One row of a table for each format.

The prompt texts are those of Stanford Alpaca (https://github.com/tatsu-lab/stanford_alpaca) and of axolotl's formats of
the same names, so that a model goes on in the format that it knows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from sft_data.format.column import text_column
from sft_data.row import Row, RowError
from sft_schema.config import DatasetConfig
from sft_schema.record import Segment, Segments

_TASK = "Below is an instruction that describes a task"
_REQUEST = "Write a response that appropriately completes the request."
TEMPLATE = "template"
"""Field of the format's own text: control tokens in it are meant."""
_NAME = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Instruction:
    """Texts of one format; `{name}` stands for a column of the row, and in `turn` also for `{question}`, `{given}`.

    Attributes:
        turn: the prompt when there is an input.
        plain: the prompt when there is none.
        intro: what stands before `turn`.
        plain_intro: what stands before `plain`.
        question: the task.
        given: column of the optional input; empty when the format has none.
        answer: what is trained.
        system: column of an optional system text.
        system_format: how a system text is written; `{system}` is the text.
    """

    turn: str
    plain: str
    intro: str = f"{_TASK}, paired with an input that provides further context. {_REQUEST}"
    plain_intro: str = f"{_TASK}. {_REQUEST}"
    question: str = "{instruction}"
    given: str = "input"
    answer: str = "{output}"
    system: str = ""
    system_format: str = "{system}\n\n"

    def __call__(self, row: Row, cfg: DatasetConfig) -> Segments:
        """An untrained prompt and a trained answer; the end token follows in rendering.

        Raises:
            RowError: `missing_column` or `wrong_type`.
        """
        given = _given(row, self.given) if self.given else ""
        before = text_column(row, self.system, required=False) if self.system else ""
        if not self.system:
            before = self.intro if given else self.plain_intro
        asked: dict[str, list[Piece]] = {
            "question": _columns(self.question, row),
            "given": [(self.given, given)],
            "system": [(self.system or TEMPLATE, before)],
        }
        prompt = [*(_laid_out(self.system_format, asked) if before else ()), *_laid_out(self._turn(given), asked)]
        answer = [piece for piece in _columns(self.answer, row) if piece[1]] or [("output", "")]
        return Segments(
            segments=(
                *(Segment(text=text, train=False, role="user", field=field) for field, text in prompt if text),
                *(Segment(text=text, train=True, role="assistant", field=field) for field, text in answer),
            )
        )

    def _turn(self, given: str) -> str:
        return self.turn if given else self.plain


Piece = tuple[str, str]
"""A column, or TEMPLATE, and its text."""


def _laid_out(text: str, names: dict[str, list[Piece]]) -> list[Piece]:
    """The format's text, with the pieces of each `{name}` in its place."""
    parts = _NAME.split(text)  # text and names in turn
    return [piece for i, part in enumerate(parts) for piece in (names[part] if i % 2 else [(TEMPLATE, part)])]


def _columns(text: str, row: Row) -> list[Piece]:
    return _laid_out(text, {name: [(name, text_column(row, name))] for name in _NAME.findall(text)})


def _given(row: Row, column: str) -> str:
    value: Any = row.values.get(column)
    if column == "choices" and isinstance(value, list):
        return "\n".join(f'- "{choice}"' for choice in value)  # pyright: ignore[reportUnknownVariableType]
    if column == "choices":
        raise RowError("wrong_type", f"{column!r} is a {type(value).__name__}, not a list")
    return text_column(row, column, required=False)


INSTRUCT = Instruction(
    turn="### Instruction:\n{question}\n\n### Input:\n{given}\n\n### Response:\n",
    plain="### Instruction:\n{question}\n\n### Response:\n",
)
CHAT = replace(
    INSTRUCT,
    turn="USER: {question}\n{given}\nASSISTANT:",
    plain="USER: {question}\nASSISTANT:",
    system_format="SYSTEM: {system}\n",
)
CHATML = replace(
    INSTRUCT,
    turn="<|im_start|>user\n{question}\n{given}<|im_end|>\n<|im_start|>assistant\n",
    plain="<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
    system_format="<|im_start|>system\n{system}<|im_end|>\n",
)
PHI = replace(
    INSTRUCT,
    turn="<|user|>\n{question}<|end|>{given}<|assistant|>",
    plain="<|user|>\n{question}<|end|>\n<|assistant|>\n",
    system_format="<|system|>\n{system}<|end|>\n",
)
_USER_TASK = "Below is an instruction from a USER that describes a task"
_CONCISE = replace(
    CHAT,
    intro=(
        f"{_USER_TASK}, paired with an input that provides further context. The ASSISTANT writes a response that "
        "concisely and appropriately completes the request.\n\n"
    ),
    plain_intro=(
        f"{_USER_TASK}. The ASSISTANT writes a response that appropriately and concisely completes the request.\n\n"
    ),
)


def _introduced(base: Instruction, intro: str) -> Instruction:
    return replace(base, intro=intro, plain_intro=intro)


_CHOICE = {"question": "{question}", "given": "choices", "answer": "{solution}"}
_EXPLAIN = "Choose the answer that best answers the question. Explain your reasoning.\n"
_BRIEF = "Choose the answer that best answers the question. Be concise in your response.\n\n"
_CONTEXT = "Use the following contextual information to concisely answer the question.\n"
_ARTICLE = replace(_introduced(CHAT, _CONTEXT), question="{article}\n===\n{question}", given="", answer="{answer}")
_ORCA = {"question": "{question}", "given": "", "answer": "{response}", "system": "system_prompt"}
_TLDR = "USER: Summarize the following article as a TL;DR.\n{question}\n"

INSTRUCTIONS: dict[str, Instruction] = {
    "alpaca": INSTRUCT,
    "alpaca:instruct": INSTRUCT,
    "alpaca:chat": CHAT,
    "alpaca:chatml": CHATML,
    "alpaca:phi": PHI,
    "alpaca_instruct": INSTRUCT,
    "alpaca_instruct.load_no_prompt": _introduced(INSTRUCT, ""),
    "alpaca_chat": CHAT,
    "alpaca_chat.load_concise": _CONCISE,
    "alpaca_chat.load_no_prompt": _introduced(CHAT, ""),
    "alpaca_chat.load_qa": replace(_CONCISE, question="{question}", given="", answer="{answer}"),
    "alpaca_chat.load_camel_ai": replace(_CONCISE, question="{message_1}", given="", answer="{message_2}"),
    "alpaca_w_system": replace(CHAT, system="system"),
    "alpaca_w_system.load_chat": replace(CHAT, system="system"),
    "alpaca_w_system.load_instruct": replace(INSTRUCT, system="system"),
    "alpaca_w_system.load_open_orca": replace(
        INSTRUCT, plain="### Human:\n{question}\n### Assistant:\n", system_format="### System:\n{system}\n", **_ORCA
    ),
    "alpaca_w_system.load_open_orca_chatml": replace(CHATML, **_ORCA),
    "context_qa": _ARTICLE,
    "context_qa.load_404": replace(
        _ARTICLE,
        question="{article}\n===\n{unanswerable_question}",
        answer=(
            "The context provided does not contain any information about your inquiry. Therefore, I'm unable to answer "
            "your question based on the given context."
        ),
    ),
    "context_qa.load_v2": replace(
        _introduced(CHAT, ""),
        plain="{question}",
        question="Context: {context}\nQuestion: {question}\n",
        given="",
        answer="Answer: {answer}",
    ),
    "concisechoice": replace(_introduced(CHAT, _BRIEF), system_format="{system}", **_CHOICE),
    "explainchoice": replace(_introduced(INSTRUCT, _EXPLAIN), **_CHOICE),
    "gpteacher": replace(INSTRUCT, answer="{response}"),
    "jeopardy": replace(INSTRUCT, question="{question}", given="category", answer="what is {answer}"),
    "oasst": replace(INSTRUCT, question="{INSTRUCTION}", given="", answer="{RESPONSE}"),
    "summarizetldr": replace(
        _introduced(CHAT, ""), plain=f"{_TLDR}ASSISTANT:", question="{article}", given="", answer="{summary}"
    ),
    "prompt_completion": replace(
        _introduced(CHAT, ""), plain="{question}", question="{prompt}", given="", answer="{completion}"
    ),
}
"""Format name to its texts."""
