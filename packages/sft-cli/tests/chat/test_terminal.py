"""What is remembered and shown in a chat; tests/test_terminal.py has one at a real terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from threading import Event
from typing import Any

import pytest

from sft_cli.chat.speaker import Message
from sft_cli.chat.terminal import Chat


class Ended:
    by, tokens, prompt_tokens = "length", 1, 1


def counts(messages: Sequence[Message], settings: Mapping[str, Any], stop: Event) -> Iterator[str | Ended]:
    yield f"{len(messages)}\x1b[2J\t"
    yield Ended()


def test_turns_are_remembered_and_control_characters_shown(capsys: pytest.CaptureFixture[str]) -> None:
    chat = Chat(counts, "Be brief.")
    chat.ask("a")
    chat.ask("b")
    assert [each["role"] for each in chat.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert capsys.readouterr().out == "".join(f"{n}␛[2J     (cut off: max_new_tokens)\n" for n in (2, 4))


def test_a_model_without_a_template_gets_each_text_alone(capsys: pytest.CaptureFixture[str]) -> None:
    chat = Chat(counts, None, remembers=False)
    chat.ask("a")
    chat.ask("b")
    assert capsys.readouterr().out.count("1␛") == 2


def test_ctrl_c_keeps_what_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(messages: Sequence[Message], settings: Mapping[str, Any], stop: Event) -> Iterator[str | Ended]:
        yield "half"
        raise KeyboardInterrupt

    chat = Chat(interrupted, None)
    chat.ask("a")
    assert chat.messages[-1] == {"role": "assistant", "content": "half"}
    assert capsys.readouterr().out == "half (stopped)\n"
