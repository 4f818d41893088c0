"""Rows to conversations: names and roles of other formats, reasoning, tools, and what a row says about its training."""

import json
from pathlib import Path
from typing import Any

import pytest

from sft_data import inspect_rows, prepare
from sft_data.format import FORMATS
from sft_data.row import Row, RowError
from sft_schema import DataError
from sft_schema.config import DatasetConfig
from sft_schema.record import Conversation, RowOrigin

ASK, SAY = {"role": "user", "content": "hello"}, {"role": "assistant", "content": "first answer"}
AGAIN, LAST = {"role": "user", "content": "world"}, {"role": "assistant", "content": "second answer"}
THINK = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}<|user|>{{ m.reasoning_content }}"
    "<|assistant|>{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def conversation(values: dict[str, Any], **settings: Any) -> Conversation:
    example = FORMATS["chat_template"](Row(values, RowOrigin("m", 0, "m")), DatasetConfig(path="m", **settings))
    assert isinstance(example, Conversation)
    return example


def pairs(found: Conversation) -> list[tuple[str, Any]]:
    return [(message.role, message.content) for message in found.messages]


def trained(workspace: Any, rows: list[Any], top: dict[str, Any] | None = None, **settings: Any) -> str:
    """The marked text of the first row, without template text of untrained turns."""
    file = workspace.rows("a.jsonl", rows)
    (row,) = inspect_rows(workspace.config(datasets=[{"path": str(file), **settings}], **(top or {})))
    return workspace.marked(row.tokens)


def runs(marked: str) -> list[str]:
    return [part.split("»")[0] for part in marked.split("«")[1:]]


def test_sharegpt_rows_need_no_settings() -> None:
    row = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "s"}
    assert pairs(conversation(row)) == [("system", "s"), ("user", "a"), ("assistant", "b")]
    text = {"conversations": json.dumps(row["conversations"])}
    assert pairs(conversation(text)) == [("user", "a"), ("assistant", "b")]


def test_roles_have_the_names_that_the_data_gives_them() -> None:
    row = {"messages": [{"role": "client", "content": "a"}, {"role": "model", "content": "b"}]}
    found = conversation(row, roles={"user": ("client",), "assistant": ("gpt", "model")})
    assert pairs(found) == [("user", "a"), ("assistant", "b")]
    assert pairs(conversation(row)) == [("client", "a"), ("model", "b")]


def test_an_alias_may_be_named_in_roles_to_train(workspace: Any) -> None:
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "model", "content": "hello"}]}
    settings = {"roles": {"assistant": ["model"]}, "roles_to_train": ["model"]}
    assert runs(trained(workspace, [row], **settings)) == ["hello<|im_end|>"]


@pytest.mark.parametrize("role", ["", "  ", None, 3])
def test_a_message_without_a_role_is_refused(role: Any) -> None:
    with pytest.raises(RowError, match="message 0 has the role"):
        conversation({"messages": [{"role": role, "content": "x"}]})


def test_a_system_message_is_left_out_when_asked() -> None:
    row = {"messages": [{"role": "system", "content": "s"}, ASK, SAY]}
    assert pairs(conversation(row, drop_system_message=True)) == [("user", "hello"), ("assistant", "first answer")]
    assert pairs(conversation({"messages": [ASK, SAY], "system": "s"}, drop_system_message=True))[0][0] == "user"


@pytest.mark.parametrize(
    ("content", "reasoning", "rest"),
    [
        ("<think>\nwhy\n</think>\n\n42", "why", "42"),
        ("<reasoning>why</reasoning>42", "why", "42"),
        ("<|begin_of_thought|> why <|end_of_thought|>\n<|begin_of_solution|> 42 <|end_of_solution|>", "why", "42"),
        ("42", None, "42"),
        ("I say <think>why</think>", None, "I say <think>why</think>"),
    ],
)
def test_thinking_is_split_off(content: str, reasoning: str | None, rest: str) -> None:
    row = {"messages": [ASK, {"role": "assistant", "content": content}]}
    message = conversation(row, split_thinking=True).messages[1]
    assert (message.content, message.for_template().get("reasoning_content")) == (rest, reasoning)
    assert conversation(row).messages[1].content == content


def test_reasoning_stands_where_the_data_and_the_template_say() -> None:
    row = {"messages": [ASK, {**SAY, "thoughts": "why"}]}
    found = conversation(row, field_thinking="thoughts", template_thinking_key="thinking")
    assert found.messages[1].for_template() == {**SAY, "thinking": "why"}


def test_tools_and_arguments_given_as_text_become_objects() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "default": None}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": json.dumps(schema)}}
    call = {"type": "function", "function": {"name": "f", "arguments": '{"a": "é"}'}}
    row = {"messages": [ASK, {"role": "assistant", "content": None, "tool_calls": [call]}], "tools": json.dumps([tool])}
    found = conversation(row)
    assert found.tools is not None
    assert found.tools[0]["function"]["parameters"] == schema
    assert found.messages[1].for_template()["tool_calls"][0]["function"] == {"name": "f", "arguments": {"a": "é"}}
    flat = conversation({"messages": [ASK, SAY], "tools": [{"name": "f", "parameters": schema}]})
    assert flat.tools == ({"name": "f", "parameters": schema},)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [ASK, {**SAY, "tool_calls": [{"function": {"arguments": "{"}}]}]}, "bad_tool_call"),
        ({"messages": [ASK, {**SAY, "tool_calls": "x"}]}, "bad_tool_call"),
        ({"messages": [ASK, {**SAY, "tool_calls": ["x"]}]}, "bad_tool_call"),
        ({"messages": [ASK, SAY], "tools": [3]}, "bad_tool"),
        ({"messages": [ASK, SAY], "tools": [{"function": {"parameters": "{"}}]}, "bad_tool"),
        ({"messages": [ASK, {**SAY, "weight": -0.5}]}, "bad_training_flag"),
        ({"messages": [ASK, {**SAY, "weight": 1e-9}]}, "bad_training_flag"),
        ({"messages": [ASK, {**SAY, "weight": float("nan")}]}, "bad_training_flag"),
        ({"messages": [ASK, {**SAY, "train": "no"}]}, "bad_training_flag"),
        ({"messages": [ASK, {"role": "assistant", "content": [{"type": "image"}]}]}, "picture_count"),
        ({"messages": [ASK, {"role": "assistant", "content": [{"type": "audio"}]}]}, "not_text_part"),
        ({"messages": [ASK, {"role": "assistant", "content": [3]}]}, "bad_message"),
    ],
)
def test_what_cannot_be_read_is_named(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as caught:
        conversation(row)
    assert caught.value.reason == reason


def test_a_template_that_joins_arguments_gets_them_as_text(workspace: Any) -> None:
    workspace.use_template(
        "{% for m in messages %}<|user|>{{ m.role }}\n{{ m.content }}"
        "{% for c in m.tool_calls %}{{ ' ' + c.function.arguments }}{% endfor %}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|user|>assistant\n{% endif %}"
    )
    call = {"function": {"name": "f", "arguments": {"a": "é"}}}
    marked = trained(workspace, [{"messages": [ASK, {"role": "assistant", "content": "x", "tool_calls": [call]}]}])
    assert runs(marked) == ['x {"a": "é"}<|end|>']


def test_parts_of_text_are_one_text() -> None:
    parts = [{"type": "text", "text": "a "}, "b"]
    found = conversation({"messages": [ASK, {"role": "assistant", "content": parts}]})
    assert (found.messages[1].content, found.parts) == ("a b", ())


def test_a_message_says_itself_whether_it_is_trained(workspace: Any) -> None:
    for flag in ({"training": False}, {"train": False}, {"weight": 0}):
        assert runs(trained(workspace, [{"messages": [ASK, {**SAY, **flag}, AGAIN, LAST]}])) == [
            "second answer<|im_end|>"
        ]
    both = [{"messages": [{**ASK, "train": True}, SAY]}]
    assert runs(trained(workspace, both)) == ["hello<|im_end|>", "first answer<|im_end|>"]
    own = [{"messages": [ASK, {**SAY, "keep": False}, AGAIN, {**LAST, "keep": True}]}]
    assert runs(trained(workspace, own, message_field_training="keep")) == ["second answer<|im_end|>"]
    inputs = trained(workspace, [{"messages": [{**ASK, "train": False}, SAY]}], train_on_inputs=True)
    assert "hello" not in "".join(runs(inputs))
    assert "first answer" in "".join(runs(inputs))


def test_spans_of_a_text_are_trained(workspace: Any) -> None:
    detail = [
        {"begin_offset": 0, "end_offset": 4, "train": False},
        {"begin_offset": 5, "end_offset": 11, "train": True},
    ]
    row = {"messages": [ASK, {**SAY, "spans": detail}]}
    assert runs(trained(workspace, [row], message_field_training_detail="spans")) == [" answer<|im_end|>"]
    parts = [{"text": "first", "train": False}, {"text": " answer"}]
    assert runs(trained(workspace, [{"messages": [ASK, {"role": "assistant", "content": parts}]}])) == [
        " answer<|im_end|>"
    ]
    for bad in ([{"begin_offset": 5, "end_offset": 99, "train": True}], [{"begin_offset": 5}], detail[:1] * 2):
        with pytest.raises(RowError, match="spans"):
            conversation({"messages": [ASK, {**SAY, "spans": bad}]}, message_field_training_detail="spans")


def test_a_token_across_the_edge_of_a_span_is_not_trained(workspace: Any) -> None:
    detail = [{"begin_offset": 3, "end_offset": 11, "train": True}]
    row = {"messages": [ASK, {**SAY, "spans": detail}]}
    (text,) = runs(trained(workspace, [row], message_field_training_detail="spans"))
    assert text.endswith(" answer<|im_end|>")
    assert "first"[:3] not in text


def test_the_last_turn_alone(workspace: Any) -> None:
    rows = [{"messages": [ASK, SAY, AGAIN, LAST]}]
    assert runs(trained(workspace, rows, {"mask_history": True})) == ["second answer<|im_end|>"]
    assert len(runs(trained(workspace, rows, {"mask_history": True}, mask_history=False))) == 2


def test_reasoning_is_trained_or_not(workspace: Any) -> None:
    workspace.use_template(THINK)
    rows = [{"messages": [ASK, {**SAY, "reasoning_content": "one two"}]}]
    assert runs(trained(workspace, rows)) == ["<|user|>one two<|assistant|>first answer<|im_end|>"]
    assert runs(trained(workspace, rows, {"train_on_reasoning": False})) == ["first answer<|im_end|>"]
    own = trained(workspace, rows, {"train_on_reasoning": False}, train_on_reasoning=True)
    assert runs(own) == ["<|user|>one two<|assistant|>first answer<|im_end|>"]


GEMMA = (
    "{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content }}"
    "{{ '<end_of_turn>' if m.role == 'user' or m.content != 'second answer' else eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>assistant\n{% endif %}"
)


def test_eos_and_other_stop_tokens_have_settings_of_their_own(workspace: Any) -> None:
    workspace.use_template(GEMMA, eos_token="<|endoftext|>")
    rows = [{"messages": [ASK, SAY, AGAIN, LAST]}]
    both = ["first answer<end_of_turn>", "second answer<|endoftext|>"]
    assert runs(trained(workspace, rows)) == both
    assert runs(trained(workspace, rows, {"train_on_eot": "none"})) == ["first answer", both[1]]
    assert runs(trained(workspace, rows, {"train_on_eos": "none"})) == ["first answer", "second answer"]
    assert runs(trained(workspace, rows, {"train_on_eos": "none"}, train_on_eot="turn")) == [both[0], "second answer"]
    every = trained(workspace, rows, {"train_on_eot": "all"})
    assert runs(every) == ["<end_of_turn>", both[0], "<end_of_turn>", both[1]]


def test_eot_tokens_end_turns_that_the_probe_does_not_show(workspace: Any) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{{ '<|end|>' if m.content == 'hello' else '<|im_end|>' }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    workspace.use_template(template, eos_token="<|endoftext|>")
    file = workspace.rows("b.jsonl", [{"messages": [AGAIN, {**SAY, "content": "hello"}]}])
    with pytest.raises(DataError, match="no_end_of_turn"):
        prepare(workspace.config(file))
    rows = [{"messages": [AGAIN, {**SAY, "content": "hello"}]}]
    assert runs(trained(workspace, rows, {"eot_tokens": ["<|end|>"]})) == ["hello<|end|>"]
    with pytest.raises(DataError, match=r"'<\|nothing\|>' is not a single token"):
        prepare(workspace.config(file, eot_tokens=["<|nothing|>"]))
    with pytest.raises(DataError, match=r"never writes '</s>'"):
        prepare(workspace.config(file, eot_tokens=["</s>"]))


def test_generation_blocks_say_what_of_a_turn_is_trained(workspace: Any) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}note:\n"
        "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    workspace.use_template(template)
    rows = [{"messages": [ASK, SAY]}]
    assert runs(trained(workspace, rows)) == ["first answer<|im_end|>"]
    plain = template.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    (workspace.tokenizer / "chat_template.jinja").write_text(plain, encoding="utf-8")
    assert runs(trained(workspace, rows)) == ["note:\nfirst answer<|im_end|>"]


@pytest.mark.parametrize("name", ["reason_tool_use", "glaive_toolcall_en"])
def test_tool_schemas_are_kept_exactly(name: str) -> None:
    file = Path(__file__).parents[4] / "shared" / "material" / "data" / f"{name}.jsonl"
    if not file.is_file():
        pytest.skip("no ../shared/material beside the checkout")
    seen = 0
    for line in file.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        tools = values.get("tools")
        wanted = json.loads(tools) if isinstance(tools, str) and tools else tools
        found = conversation(values)
        assert list(found.tools or ()) == (wanted or [])
        seen += bool(found.tools)
    assert seen
