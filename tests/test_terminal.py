"""What a person at a terminal sees and types."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from sft_schema.load import load_config

ROOT = Path(__file__).parents[1]
BASE = ROOT / "examples" / "quickstart" / "base"

_spec = importlib.util.spec_from_file_location("terminal", Path(__file__).with_name("terminal.py"))
assert _spec is not None
assert _spec.loader is not None
terminal = importlib.util.module_from_spec(_spec)
sys.modules["terminal"] = terminal
_spec.loader.exec_module(terminal)


def test_init_is_answered_by_keys(tmp_path: Path) -> None:
    row = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}
    (tmp_path / "chats.jsonl").write_text(json.dumps(row) + "\n")
    with terminal.Terminal(["init"], tmp_path) as asked:
        assert "[chats.jsonl]" in asked.until(": ")
        asked.type("no/such.jsonl\n")
        asked.until("fix:")
        asked.until("[chats.jsonl]: ")
        asked.type("\n")
        asked.until("Base model, hub id or folder [Qwen/Qwen3-0.6B]: ")
        asked.type("org/Own-Model\n")
        asked.until("Billions of weights: ")
        asked.type("much\n")
        asked.until("Billions of weights: ")
        asked.type("14\n")
        asked.until("Hardware, as cpu, 24GB or 8x80GB [")
        asked.until("]: ")
        asked.type("24GB\n")
        asked.until("Method (lora, qlora, full) [qlora]: ")
        asked.type("\n")
        asked.until("wrote")
        assert asked.wait() == 0
    cfg = load_config(str(tmp_path / "config.yaml"))
    assert (cfg.base_model, cfg.adapter, cfg.load_in_4bit) == ("org/Own-Model", "qlora", True)
    assert cfg.datasets[0].path == "chats.jsonl"


def test_ctrl_c_leaves_init_without_a_file(tmp_path: Path) -> None:
    with terminal.Terminal(["init"], tmp_path) as asked:
        asked.until("]: ")
        asked.type("\x03")
        assert asked.wait() == 130
        assert "Nothing was written." in asked.seen
    assert not list(tmp_path.iterdir())


def test_a_chat_answers_remembers_and_stops(tmp_path: Path, forks: Any) -> None:
    arguments = ["inference", BASE, "--max-new-tokens", "6", "--temperature", "0"]
    with terminal.Terminal(arguments, tmp_path, forks) as chat:
        assert "/help shows commands" in chat.until("you> ")
        chat.type("What is 2 + 2?\n")
        first = chat.until("you> ")
        assert "(cut off: max_new_tokens)" in first
        chat.type("/what\n")
        assert "there is no /what" in chat.until("you> ")
        chat.type("/system Be brief.\n")
        assert "(a new conversation)" in chat.until("you> ")
        chat.type("one line \\\n")
        chat.until("... ")
        chat.type("and another\n")
        assert chat.until("you> ") != first
        chat.type("\x04")
        assert chat.wait() == 0


def test_ctrl_c_ends_an_answer_and_then_the_chat(tmp_path: Path, forks: Any) -> None:
    arguments = ["inference", BASE, "--max-new-tokens", "100000", "--temperature", "1"]
    with terminal.Terminal(arguments, tmp_path, forks) as chat:
        chat.until("you> ")
        chat.type("Go on and on.\n")
        chat.until("\n")
        chat.type("\x03")
        chat.until("you> ")
        chat.type("\x03")
        assert chat.wait() == 130
