from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from sft_data import load_tokenizer as load_text_tokenizer
from sft_schema import DataError, SftConfig
from sft_train.compute import Compute
from sft_train.model import load_model, load_tokenizer
from sft_train.run import run
from sft_train.testing import tiny_model

MakeConfig = Callable[..., SftConfig]
CPU = Compute(bf16=False, use_cpu=True)


def load(cfg: SftConfig) -> PreTrainedTokenizerBase:
    return load_tokenizer(cfg, load_text_tokenizer(cfg), load_model(cfg, 1, CPU))


def test_saved_tokenizer_gives_the_ids_and_the_text_of_training(config: MakeConfig, tmp_path: Path) -> None:
    cfg = config(chat_template="jinja", chat_template_jinja="\"{{ messages[0]['content'] }}<|im_end|>\"")
    load(cfg).save_pretrained(tmp_path)
    saved, trained = AutoTokenizer.from_pretrained(tmp_path), load_text_tokenizer(cfg)
    text = "<|im_start|>user\nnaïve 👍🏽<|im_end|>\n"
    assert saved.encode(text, add_special_tokens=False) == trained.encode(text)
    rendered = saved.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    assert rendered == "x<|im_end|>"
    assert (saved.eos_token, saved.pad_token) == ("<|im_end|>", "<|pad|>")


def test_special_tokens_of_the_config_are_saved(config: MakeConfig) -> None:
    assert load(config(special_tokens='{eos_token: "<|im_start|>"}')).eos_token == "<|im_start|>"


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_class_that_rebuilds_other_ids_is_refused(config: MakeConfig, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    raw = json.loads((folder / "tokenizer.json").read_text())["model"]
    merged = raw | {"vocab": raw["vocab"] | {"12": 259}, "merges": [["1", "2"]]}
    edit(folder / "tokenizer.json", model=merged)
    load(config(base_model=str(folder)))
    # This class splits digits before it merges, whatever tokenizer.json says.
    edit(folder / "tokenizer_config.json", tokenizer_class="Qwen2Tokenizer")
    with pytest.raises(DataError, match=r"Qwen2Tokenizer gives other ids[\s\S]*PreTrainedTokenizerFast"):
        load(config(base_model=str(folder)))


def test_class_that_cannot_read_the_files_is_refused(config: MakeConfig, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    edit(folder / "tokenizer_config.json", tokenizer_class="T5Tokenizer")
    with pytest.raises(DataError, match=r"cannot load the tokenizer[\s\S]*tokenizer_config"):
        load(config(base_model=str(folder)))


def test_ids_beyond_the_embedding_are_refused_with_both_numbers(config: MakeConfig, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path, extra_ids=-3)
    with pytest.raises(DataError, match=r"highest id is 258, .* ids 0 to 255"):
        load(config(base_model=str(folder)))


@pytest.mark.parametrize("tied", [False, True])
def test_new_tokens_are_trained_and_saved_with_rows_at_the_mean(config: MakeConfig, tmp_path: Path, tied: bool) -> None:
    folder = tiny_model(tmp_path / "base", extra_ids=0, tied=tied)
    template = "{% for m in messages %}<|turn|>{{ m['role'] }}: {{ m['content'] }}<|im_end|>{% endfor %}"
    settings = {
        "base_model": str(folder),
        "tokens": "['<|turn|>', '<|other|>']",
        "chat_template": "jinja",
        "chat_template_jinja": json.dumps(template),
    }
    cfg = config(**settings)
    model = load_model(cfg, 1, CPU)
    old = model.get_input_embeddings().weight.detach().clone()
    tokenizer = load_tokenizer(cfg, load_text_tokenizer(cfg), model)
    assert tokenizer.encode("<|turn|>a<|other|>", add_special_tokens=False) == [259, tokenizer.encode("a")[0], 260]
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert model.config.vocab_size == len(embedding) == len(head) == 261
    assert embedding[:259].equal(old)
    torch.testing.assert_close(embedding[259:], old.mean(0).expand(2, -1))
    assert (embedding is head) is tied
    run(config(**settings, max_steps="2"))
    again, saved = AutoModelForCausalLM.from_pretrained(cfg.output_dir), AutoTokenizer.from_pretrained(cfg.output_dir)
    assert saved.encode("<|turn|>", add_special_tokens=False) == [259]
    weight = again.get_input_embeddings().weight
    assert len(weight) == 261
    assert not weight[259].equal(weight[260]), "the one is in the data and the other is not"
