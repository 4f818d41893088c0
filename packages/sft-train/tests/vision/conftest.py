"""Tiny vision models with random weights, of the same families as the tiny processors, and a data set of pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MllamaConfig,
    MllamaForConditionalGeneration,
    PixtralVisionConfig,
    PreTrainedModel,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    SiglipVisionConfig,
    set_seed,
)
from transformers.models.mllama.configuration_mllama import MllamaVisionConfig

from sft_schema import SftConfig, parse_config
from sft_schema.testing.vision import token_ids, write_png, write_processor

COLOURS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250), "white": (250, 250, 250)}
_TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "vocab_size": 272,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
    "tie_word_embeddings": False,
}
_TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def _llava() -> PreTrainedModel:
    config = LlavaConfig(
        text_config={"model_type": "llama", **_TEXT},
        vision_config=CLIPVisionConfig(**_TOWER, projection_dim=32),
        image_token_index=token_ids("llava")["<image>"],
        vision_feature_layer=-1,
        image_seq_length=16,
    )
    return LlavaForConditionalGeneration(config)


def _qwen2_vl() -> PreTrainedModel:
    ids = token_ids("qwen2_vl")
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    config = Qwen2VLConfig(
        text_config={**_TEXT, "rope_parameters": rope},
        vision_config={
            "depth": 1, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14,
            "spatial_merge_size": 2, "temporal_patch_size": 2,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    return Qwen2VLForConditionalGeneration(config)


def _gemma3() -> PreTrainedModel:
    ids = token_ids("gemma3")
    config = Gemma3Config(
        text_config={**_TEXT, "head_dim": 16, "sliding_window": 512},
        vision_config=SiglipVisionConfig(**_TOWER, vision_use_head=False).to_dict(),
        mm_tokens_per_image=16,
        image_token_index=ids["<soft>"],
        boi_token_index=ids["<start_of_image>"],
        eoi_token_index=ids["<end_of_image>"],
    )
    return Gemma3ForConditionalGeneration(config)


def _mllama() -> PreTrainedModel:
    config = MllamaConfig(
        text_config={**_TEXT, "bos_token_id": 2, "cross_attention_layers": [1]},
        vision_config=MllamaVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_global_layers=1, attention_heads=2,
            image_size=28, patch_size=14, max_num_tiles=2, vision_output_dim=64, intermediate_layers_indices=[0],
            supported_aspect_ratios=[[1, 1], [1, 2], [2, 1]],
        ).to_dict(),
        image_token_index=token_ids("mllama")["<|image|>"],
    )  # fmt: skip
    return MllamaForConditionalGeneration(config)


def _pixtral() -> PreTrainedModel:
    config = LlavaConfig(
        text_config={"model_type": "llama", **_TEXT},
        vision_config=PixtralVisionConfig(**_TOWER),
        image_token_index=token_ids("pixtral")["[IMG]"],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    return LlavaForConditionalGeneration(config)


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llava": _llava,
    "qwen2_vl": _qwen2_vl,
    "gemma3": _gemma3,
    "mllama": _mllama,
    "pixtral": _pixtral,
}


@pytest.fixture(scope="session")
def vision_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a tiny model of a family, with its processor."""
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            folder = write_processor(tmp_path_factory.mktemp(family), family)
            set_seed(3)
            model = MODELS[family]()
            # Gemma's projection and Mllama's gates start at zero: no picture would be seen
            for weight in (each for each in model.parameters() if not each.any()):
                torch.nn.init.normal_(weight, 0, 0.3)
            model.save_pretrained(folder)
            made[family] = folder
        return made[family]

    return make


@pytest.fixture(scope="session")
def picture_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """colours.jsonl: what colour is this?, of pictures in several sizes, and a row of text alone."""
    folder = tmp_path_factory.mktemp("pictures")
    rows: list[dict[str, Any]] = []
    for name, colour in COLOURS.items():
        for size in ((40, 32), (32, 56)):
            file = write_png(folder / f"{name}{size[0]}.png", *size, colour)
            ask = [{"type": "image", "path": file.name}, {"type": "text", "text": "Colour?"}]
            answer = {"role": "assistant", "content": name}
            rows.append({"messages": [{"role": "user", "content": ask}, answer]})
    rows.append({"messages": [{"role": "user", "content": "Say hello."}, {"role": "assistant", "content": "Hello"}]})
    (folder / "colours.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture
def vision_config(vision_model: Callable[[str], Path], picture_data: Path, tmp_path: Path) -> Callable[..., SftConfig]:
    """A config for a family; keyword arguments are settings on top, as YAML text."""

    def make(family: str, **settings: str) -> SftConfig:
        given = {
            "base_model": str(vision_model(family)),
            "processor_type": "AutoProcessor",
            "datasets": f"[{{path: {picture_data / 'colours.jsonl'}}}]",
            "dataset_prepared_path": str(tmp_path / "prepared"),
            "output_dir": str(tmp_path / "out"),
            "sequence_len": "256",
            "micro_batch_size": "3",
            "learning_rate": "3e-3",
        } | settings
        return parse_config("".join(f"{key}: {value}\n" for key, value in given.items()))

    return make
