"""Instruction formats and ready-made pieces: the exact texts, and what of them is trained."""

from typing import Any, get_args

import pytest

from sft_data import inspect_rows, prepare
from sft_data.format import FORMATS
from sft_data.row import Row, RowError
from sft_schema.config import DatasetConfig, FormatName
from sft_schema.record import RowOrigin, Segments

TASK = {"instruction": "Add", "input": "1, 2", "output": "3"}
ASK = {"question": "Why?", "answer": "so", "response": "so", "solution": "so", "choices": ["a", "b"]}
REQUEST = "Write a response that appropriately completes the request."
BELOW = "Below is an instruction that describes a task"
CONTEXT = "SYSTEM: Use the following contextual information to concisely answer the question.\n\nUSER: "

TEXTS = {
    "alpaca:instruct": (
        TASK,
        f"{BELOW}, paired with an input that provides further context. {REQUEST}\n\n"
        "### Instruction:\nAdd\n\n### Input:\n1, 2\n\n### Response:\n«3»",
    ),
    "alpaca": (
        {**TASK, "input": ""},
        f"{BELOW}. {REQUEST}\n\n### Instruction:\nAdd\n\n### Response:\n«3»",
    ),
    "alpaca:chat": ({**TASK, "input": None}, f"SYSTEM: {BELOW}. {REQUEST}\nUSER: Add\nASSISTANT:«3»"),
    "alpaca_chat": (
        TASK,
        f"SYSTEM: {BELOW}, paired with an input that provides further context. {REQUEST}\n"
        "USER: Add\n1, 2\nASSISTANT:«3»",
    ),
    "alpaca:chatml": (
        {**TASK, "input": ""},
        f"<|im_start|>system\n{BELOW}. {REQUEST}<|im_end|>\n"
        "<|im_start|>user\nAdd<|im_end|>\n<|im_start|>assistant\n«3»",
    ),
    "alpaca:phi": (
        {**TASK, "input": ""},
        f"<|system|>\n{BELOW}. {REQUEST}<|end|>\n<|user|>\nAdd<|end|>\n<|assistant|>\n«3»",
    ),
    "alpaca_instruct": ({**TASK, "input": ""}, f"{BELOW}. {REQUEST}\n\n### Instruction:\nAdd\n\n### Response:\n«3»"),
    "alpaca_instruct.load_no_prompt": ({**TASK, "input": ""}, "### Instruction:\nAdd\n\n### Response:\n«3»"),
    "alpaca_chat.load_no_prompt": (TASK, "USER: Add\n1, 2\nASSISTANT:«3»"),
    "alpaca_chat.load_concise": (
        {**TASK, "input": ""},
        "SYSTEM: Below is an instruction from a USER that describes a task. The ASSISTANT writes a response that "
        "appropriately and concisely completes the request.\n\n\nUSER: Add\nASSISTANT:«3»",
    ),
    "alpaca_w_system": ({**TASK, "system": "Be brief."}, "SYSTEM: Be brief.\nUSER: Add\n1, 2\nASSISTANT:«3»"),
    "alpaca_w_system.load_instruct": (
        {**TASK, "input": "", "system": "Be brief."},
        "Be brief.\n\n### Instruction:\nAdd\n\n### Response:\n«3»",
    ),
    "alpaca_w_system.load_chat": ({**TASK, "system": None}, "USER: Add\n1, 2\nASSISTANT:«3»"),
    "alpaca_w_system.load_open_orca": (
        {**ASK, "system_prompt": "Be brief."},
        "### System:\nBe brief.\n### Human:\nWhy?\n### Assistant:\n«so»",
    ),
    "alpaca_w_system.load_open_orca_chatml": (
        {**ASK, "system_prompt": "Be brief."},
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n«so»",
    ),
    "context_qa": ({**ASK, "article": "text"}, f"{CONTEXT}text\n===\nWhy?\nASSISTANT:«so»"),
    "context_qa.load_404": (
        {"article": "text", "unanswerable_question": "Who?"},
        f"{CONTEXT}text\n===\nWho?\nASSISTANT:«The context provided does not contain any information about your "
        "inquiry. Therefore, I'm unable to answer your question based on the given context.»",
    ),
    "context_qa.load_v2": ({**ASK, "context": "text"}, "Context: text\nQuestion: Why?\n«Answer: so»"),
    "concisechoice": (
        ASK,
        "Choose the answer that best answers the question. Be concise in your response.\n\n"
        'USER: Why?\n- "a"\n- "b"\nASSISTANT:«so»',
    ),
    "explainchoice": (
        ASK,
        "Choose the answer that best answers the question. Explain your reasoning.\n\n\n"
        '### Instruction:\nWhy?\n\n### Input:\n- "a"\n- "b"\n\n### Response:\n«so»',
    ),
    "gpteacher": (
        {"instruction": "Add", "response": "3"},
        f"{BELOW}. {REQUEST}\n\n### Instruction:\nAdd\n\n### Response:\n«3»",
    ),
    "jeopardy": (
        {**ASK, "category": "numbers"},
        f"{BELOW}, paired with an input that provides further context. {REQUEST}\n\n"
        "### Instruction:\nWhy?\n\n### Input:\nnumbers\n\n### Response:\n«what is so»",
    ),
    "oasst": (
        {"INSTRUCTION": "Add", "RESPONSE": "3"},
        f"{BELOW}. {REQUEST}\n\n### Instruction:\nAdd\n\n### Response:\n«3»",
    ),
    "summarizetldr": (
        {"article": "text", "summary": "t"},
        "USER: Summarize the following article as a TL;DR.\ntext\nASSISTANT:«t»",
    ),
    "alpaca_chat.load_qa": (
        ASK,
        "SYSTEM: Below is an instruction from a USER that describes a task. The ASSISTANT writes a response that "
        "appropriately and concisely completes the request.\n\n\nUSER: Why?\nASSISTANT:«so»",
    ),
    "alpaca_chat.load_camel_ai": (
        {"message_1": "Why?", "message_2": "so"},
        "SYSTEM: Below is an instruction from a USER that describes a task. The ASSISTANT writes a response that "
        "appropriately and concisely completes the request.\n\n\nUSER: Why?\nASSISTANT:«so»",
    ),
    "prompt_completion": ({"prompt": "1 + 2 = {instruction}", "completion": "3"}, "1 + 2 = {instruction}«3»"),
    "completion": ({"text": "all of it"}, "«all of it»"),
    "input_output": (
        {"segments": [{"label": False, "text": "<s>in "}, {"label": True, "text": "out</s>"}]},
        "<s>in «out</s>»",
    ),
}


def example(name: Any, values: dict[str, Any]) -> Segments:
    found = FORMATS[name](Row(values, RowOrigin("m", 0, "m")), DatasetConfig(path="m", type=name))
    assert isinstance(found, Segments)
    return found


@pytest.mark.parametrize("name", TEXTS)
def test_a_format_writes_its_exact_text(name: str) -> None:
    values, wanted = TEXTS[name]
    marked = "".join(f"«{each.text}»" if each.train else each.text for each in example(name, values).segments)
    assert marked.replace("»«", "") == wanted


def test_every_format_has_a_function_and_a_text() -> None:
    assert set(get_args(FormatName)) - {"auto"} == set(FORMATS) == {*TEXTS, "chat_template", "custom", "tokenized"}


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("alpaca:chat", {"instruction": "x"}, "missing_column"),
        ("alpaca", {**TASK, "output": 3}, "wrong_type"),
        ("concisechoice", {**ASK, "choices": "a"}, "wrong_type"),
        ("context_qa", ASK, "missing_column"),
        ("input_output", {}, "missing_column"),
        ("input_output", {"segments": []}, "wrong_type"),
        ("input_output", {"segments": [{"text": "x"}]}, "bad_segment"),
        ("input_output", {"segments": ["x"]}, "bad_segment"),
    ],
)
def test_a_row_of_another_format_is_refused(name: str, values: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        example(name, values)
    assert caught.value.reason == reason


def marked(workspace: Any, name: str, row: dict[str, Any]) -> str:
    file = workspace.rows("a.jsonl", [row])
    (shown,) = inspect_rows(workspace.config(datasets=[{"path": str(file), "type": name}]))
    return workspace.marked(shown.tokens)


def test_control_tokens_of_a_format_are_meant_and_those_of_a_row_are_not(workspace: Any) -> None:
    shown = marked(workspace, "alpaca:chatml", {"instruction": "Add", "output": "answer"})
    assert shown.endswith("<|im_start|>assistant\n«answer<|im_end|>»")
    file = workspace.rows("b.jsonl", [{"instruction": "Add<|im_end|>", "output": "x"}, {**TASK}])
    counts = prepare(workspace.config(datasets=[{"path": str(file), "type": "alpaca:chatml"}])).manifest.splits["train"]
    assert counts.dropped == {"special_token_in_content": 1}


def test_pieces_get_no_tokens_that_they_do_not_have(workspace: Any) -> None:
    segments = [{"label": False, "text": "<s>hello\n"}, {"label": True, "text": "answer</s>"}]
    assert marked(workspace, "input_output", {"segments": segments}) == "<s>hello\n«answer</s>»"
