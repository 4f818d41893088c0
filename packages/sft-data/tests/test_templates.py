"""Named chat templates: one file each, proven on a tokenizer that has their tokens, refused on one that has not."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import pytest
from tokenizers import AddedToken, Tokenizer, models

from sft_data import inspect_rows, prepare
from sft_data.chat import load_chat
from sft_data.mask import Probe, find_disagreement, find_increments
from sft_data.pipeline import Pipeline
from sft_data.render import ChatTemplate, control_tokens, named_template
from sft_data.row import Row, RowError
from sft_data.templates import require_control_tokens
from sft_data.tokenizer import load_tokenizer
from sft_schema import DataError
from sft_schema.config import NamedTemplate
from sft_schema.record import Conversation, RowOrigin

GOLDEN = Path(__file__).parent / "golden" / "templates"
NAMES = get_args(NamedTemplate)
CHAT = [("user", "Hello?"), ("assistant", "first answer"), ("user", "first answer"), ("assistant", "[[two]]")]
MATERIAL = Path(__file__).parents[4] / "shared" / "material"
FAMILIES = {
    "qwen3": "qwen3",
    "gemma": "gemma2-fmt",
    "phi_35": "phi-3.5-mini",
    "mistral_v2v3": "mistral-v3",
    "llama3": "llama3.1",
}


def use_tokens_of(workspace: Any, name: str, template: str | None = None, eos: str = "<|endoftext|>") -> None:
    """Goes on with a tokenizer that has the control tokens of a named template."""
    workspace.use_template(template, bos_token="<s>", eos_token=eos)
    file = workspace.tokenizer / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in control_tokens(named_template(name))])
    tokenizer.save(str(file))


@pytest.mark.parametrize("name", NAMES)
def test_a_named_template_trains_the_answers_and_their_stop_tokens(name: str, workspace: Any) -> None:
    use_tokens_of(workspace, name)
    (row,) = inspect_rows(workspace.config(workspace.chats("a.jsonl", CHAT), chat_template=name))
    golden = GOLDEN / f"{name}.txt"
    assert workspace.marked(row.tokens) + "\n" == golden.read_text(encoding="utf-8")
    assert control_tokens(named_template(name)) or "control tokens" not in named_template(name)


@pytest.mark.parametrize("name", [name for name in NAMES if control_tokens(named_template(name))])
def test_a_named_template_needs_its_control_tokens_as_tokens(name: str) -> None:
    with pytest.raises(DataError, match="the chat template writes") as caught:
        require_control_tokens(named_template(name), Tokenizer(models.BPE()), "tokenizer")
    assert all(token in str(caught.value) for token in control_tokens(named_template(name)))


def test_a_template_of_another_family_is_refused(workspace: Any) -> None:
    workspace.use_template(None, bos_token="<s>")
    with pytest.raises(DataError, match=r"writes <\|start_header_id\|>, <\|end_header_id\|>, <\|eot_id\|>, which"):
        prepare(workspace.config(workspace.chats("a.jsonl", CHAT), chat_template="llama3"))


def test_every_template_file_has_a_name_in_the_config() -> None:
    folder = files("sft_data") / "render" / "templates"  # of the installed package: a wheel must bring them too
    assert sorted(f"{name}.jinja" for name in NAMES) == sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize(("name", "family"), FAMILIES.items())
@pytest.mark.skipif(not MATERIAL.is_dir(), reason="no ../shared/material beside the checkout")
def test_a_named_template_writes_what_the_familys_own_writes(name: str, family: str) -> None:
    """Byte for byte, wherever both take a conversation. What only one takes, or writes otherwise, stands here."""
    own_text = (MATERIAL / "tokenizers" / family / "chat_template.jinja").read_text(encoding="utf-8")
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    ours, own = ChatTemplate(named_template(name), special, {}), ChatTemplate(own_text, special, {})
    refused, other, same = set[str](), set[str](), 0
    for case in json.loads((MATERIAL / "oracle" / f"{family}.json").read_text(encoding="utf-8")):
        values = {key: case[key] for key in ("messages", "tools") if case[key]}
        conversation = Conversation.model_validate(values)
        for prompt in (False, True):
            try:
                wanted = own.render(conversation, add_generation_prompt=prompt).text
                text = ours.render(conversation, add_generation_prompt=prompt).text
            except RowError:
                refused.add(case["conversation"])
                continue
            if family == "llama3.1":  # its system turn with dates is what Llama 3 does not have
                wanted = wanted.replace(DATES, "").replace(EMPTY_SYSTEM, "")
                text = text.replace(EMPTY_SYSTEM, "")
            same += text == wanted
            other |= {case["conversation"]} if text != wanted else set()
    assert same >= 60
    assert not other
    assert {each for each in refused if "tool" not in each} <= REFUSED.get(name, set())


DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
EMPTY_SYSTEM = "<|start_header_id|>system<|end_header_id|>\n\n<|eot_id|>"
REFUSED = {
    "gemma": {
        *("single_system", "system_multi", "consecutive_assistants", "consecutive_users", "assistant_first"),
        *("system_in_middle", "empty_system"),
    },
    "mistral_v2v3": {
        *("consecutive_assistants", "consecutive_users", "assistant_first", "system_in_middle"),
        *("empty_assistant_last", "empty_assistant_mid"),
    },
}


def test_a_fallback_is_used_where_the_tokenizer_has_no_template(workspace: Any) -> None:
    file = workspace.chats("a.jsonl", CHAT)
    fallback = {"chat_template": "tokenizer_default_fallback_chatml"}
    own = prepare(workspace.config(file)).train[0].input_ids.tolist()
    assert prepare(workspace.config(file, **fallback)).train[0].input_ids.tolist() == own
    workspace.use_template(None)
    assert prepare(workspace.config(file, **fallback)).train[0].input_ids.tolist() == own
    with pytest.raises(DataError, match="no chat template"):
        prepare(workspace.config(file))


def test_a_data_set_may_have_a_template_of_its_own(workspace: Any) -> None:
    plain, other = workspace.chats("a.jsonl", CHAT), workspace.chats("b.jsonl", CHAT)
    jinja = workspace.folder / "own.jinja"
    jinja.write_text("{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}", encoding="utf-8")
    entries = [{"path": str(plain)}, {"path": str(other), "chat_template_jinja": str(jinja)}]
    prepared = prepare(workspace.config(datasets=entries))
    first, second = (prepared.tokenizer.backend.decode(s.input_ids.tolist(), False) for s in prepared.train)
    assert first.startswith("<|im_start|>user")
    assert second.startswith("<|user|>Hello?<|end|><|user|>first answer<|end|>")
    assert prepared.manifest.stop_tokens == ("<|im_end|>", "<|end|>")
    assert (prepared.tokenizer.chat_template or "").startswith("{% for m in messages %}<|im_start|>")
    jinja.write_text("{% for m in messages %}<|user|>{{ m.content }}!<|end|>{% endfor %}", encoding="utf-8")
    assert prepare(workspace.config(datasets=entries)).folder != prepared.folder


def test_an_unreadable_template_file_is_named(workspace: Any) -> None:
    (workspace.folder / "bytes.jinja").write_bytes(b"\xff\xfe")
    for path, message in ((workspace.folder / "bytes.jinja", "utf-8"), (workspace.folder / "gone", "no such file")):
        with pytest.raises(DataError, match=message):
            prepare(workspace.config(workspace.chats("a.jsonl", CHAT), chat_template_jinja=str(path)))


MORE = {
    "qwen3": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "reasoning_content": "r"},
        {"role": "user", "content": "w"},
        {"role": "assistant", "content": "b", "reasoning_content": "s"},
    ],
}


@pytest.mark.parametrize("name", NAMES)
def test_both_ways_to_find_turns_agree_on_every_named_template(name: str, workspace: Any) -> None:
    use_tokens_of(workspace, name)
    cfg = workspace.config(workspace.folder / "memory.jsonl", chat_template=name)
    chat = load_chat(cfg, cfg.datasets[0], load_tokenizer(cfg))
    tokenizer = load_tokenizer(cfg)
    probe = Probe(chat.render, lambda text: tokenizer.encode_batch([text])[0], chat.stops)
    messages = MORE.get(name, [{"role": role, "content": content} for role, content in CHAT])
    masked = Pipeline(cfg, tokenizer).masked_row(Row({"messages": messages}, RowOrigin("m", 0, "m")), cfg.datasets[0])
    conversation = Conversation.model_validate({"messages": messages})
    found = find_increments(probe, conversation, [1, 3])
    assert found.turns.keys() | set(found.rewritten) == {1, 3}
    assert found.rewritten == ([1] if name in ("qwen3", "qwen3_5") else [])
    assert find_disagreement(probe, conversation, masked.rendered, masked.regions) is None
