from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from sft_train.model.generation import pad_id, set_generation_defaults


def test_stop_ids_reach_the_saved_generation_config(model_folder: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    set_generation_defaults(model, AutoTokenizer.from_pretrained(model_folder), (2, 1))
    model.save_pretrained(tmp_path)
    saved = GenerationConfig.from_pretrained(tmp_path)
    assert (saved.eos_token_id, saved.pad_token_id) == ([2, 1], 0)


def test_published_config_that_contradicts_itself_can_still_be_saved(model_folder: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    model.generation_config = GenerationConfig(do_sample=False, temperature=0.6)
    with pytest.raises(ValueError, match="temperature"):
        model.generation_config.validate(strict=True)
    set_generation_defaults(model, AutoTokenizer.from_pretrained(model_folder), (2,))
    model.save_pretrained(tmp_path)
    assert GenerationConfig.from_pretrained(tmp_path).temperature == 0.6


@pytest.mark.parametrize(
    ("pad", "unknown", "wanted"),
    [("<|pad|>", None, 0), ("<|im_end|>", "<|im_start|>", 1), ("<|im_end|>", None, 2), (None, None, 2)],
)
def test_pad_is_a_stop_token_only_where_nothing_else_exists(
    model_folder: Path, pad: str | None, unknown: str | None, wanted: int
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.pad_token, tokenizer.unk_token = pad, unknown
    assert pad_id(tokenizer, (2,)) == wanted
