from __future__ import annotations

import json
from pathlib import Path

from transformers import AutoTokenizer

from sft_train.testing import SPECIAL, tiny_model, write_conversations


def test_every_text_has_one_token_a_byte_and_comes_back(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model(tmp_path, weights=False))
    every_byte = bytes(range(128)).decode() + "é😀\n\u00ad"
    ids = tokenizer.encode(every_byte, add_special_tokens=False)
    assert len(ids) == len(every_byte.encode())
    assert tokenizer.decode(ids) == every_byte
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL)) == [0, 1, 2]


def test_conversations_depend_on_the_seed_alone(tmp_path: Path) -> None:
    texts = [write_conversations(tmp_path / "rows.jsonl", 9, seed=seed).read_text() for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert all(row["messages"][-1]["role"] == "assistant" for row in map(json.loads, texts[0].splitlines()))
