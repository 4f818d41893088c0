"""Small real things for tests: a model with its tokenizer, and conversations of many lengths."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>")
"""Ids 0 to 2; the 256 bytes follow."""

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_WORDS = ("one", "two", "three", "seven", "eleven", "red", "green", "north", "southwest", "a")


def tiny_model(
    folder: Path, *, weights: bool = True, layers: int = 2, extra_ids: int = 5, hidden: int = 32, tied: bool = False
) -> Path:
    """Writes a Llama of about 40,000 weights with a tokenizer that has a token for each byte.

    Args:
        folder: made if absent.
        weights: also write random weights, larger than usual so that attention has a visible say.
        layers: decoder layers.
        extra_ids: ids that the model embeds beyond the tokenizer's.
        hidden: width.
        tied: the head shares the embedding's weights.

    Returns:
        `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(byte_tokenizer()), encoding="utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": SPECIAL[0],
        "eos_token": SPECIAL[2],
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    config = LlamaConfig(
        vocab_size=len(SPECIAL) + 256 + extra_ids,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.1,
        eos_token_id=2,
        bos_token_id=None,
        tie_word_embeddings=tied,
        architectures=["LlamaForCausalLM"],
    )
    config.save_pretrained(folder)
    if weights:
        set_seed(7)
        LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder)
    return folder


def byte_tokenizer() -> dict[str, Any]:
    """The content of a tokenizer.json with one token for each byte, and `SPECIAL`."""
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *_byte_alphabet()])}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    bytewise = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "added_tokens": [{"id": vocabulary[token], "content": token, **flags} for token in SPECIAL],
        "pre_tokenizer": bytewise,
        "decoder": bytewise,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }


def _byte_alphabet() -> list[str]:
    """The character that byte-level tokenizers write for each byte: itself if it is visible, else one above 255."""
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return sorted(chr(byte if byte in visible else next(others)) for byte in range(256))


def write_conversations(file: Path, count: int, *, seed: int = 0, longest: int = 12) -> Path:
    """Writes conversations of one or two turns, with answers of 1 to `longest` words.

    Returns:
        `file`, JSON Lines in the `messages` format.
    """
    choose = random.Random(seed)
    rows = [{"messages": _messages(choose, longest)} for _ in range(count)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return file


def _messages(choose: random.Random, longest: int) -> list[dict[str, str]]:
    messages: list[dict[str, str]] = []
    for _ in range(choose.choice((1, 1, 2))):
        answer = _sentence(choose, choose.randint(1, longest))
        messages.append({"role": "user", "content": f"Say {_sentence(choose, choose.randint(1, 3))}."})
        messages.append({"role": "assistant", "content": answer})
    return messages


def _sentence(choose: random.Random, words: int) -> str:
    picked: Sequence[str] = choose.choices(_WORDS, k=words)
    return " ".join(picked)
