"""Rows with pictures in a padded batch: the same loss as row by row, and no picture token among the targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, PreTrainedModel

from sft_data import Prepared, pack_row, prepare
from sft_schema import ConfigError, DataError, SftConfig
from sft_train.compute import Compute
from sft_train.loss import forward_call, padded_nll
from sft_train.model import load_model, load_tokenizer
from sft_train.trainer import training_arguments
from sft_train.trainer.pictured import PicturedBatches, saved_with_model
from sft_train.trainer.rows import StoredRows

pytestmark = pytest.mark.extra("torchvision")

FAMILIES = ("llava", "qwen2_vl", "gemma3", "mllama", "pixtral")
_TEXT_ROW = 8
"""The data's last row has no picture."""


def model_of(cfg: SftConfig) -> PreTrainedModel:
    return load_model(cfg, cfg.seed, Compute(bf16=False, use_cpu=True)).eval()


def batch_of(prepared: Prepared, samples: Sequence[int]) -> dict[str, Any]:
    rows = [pack_row(prepared.train, np.array([each])) for each in samples]
    return PicturedBatches(prepared, "train")(rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_has_the_loss_of_its_rows_one_by_one(family: str, vision_config: Callable[..., SftConfig]) -> None:
    cfg = vision_config(family)
    prepared, model = prepare(cfg), model_of(cfg)
    call = forward_call(model, cfg.attn_implementation)
    with torch.no_grad():
        for samples in ((_TEXT_ROW, 0, 3), (0, 1), (_TEXT_ROW, _TEXT_ROW)):
            batch = batch_of(prepared, samples)
            alone = [batch_of(prepared, [each]) for each in samples]
            together = float(padded_nll(model, batch, call))
            assert together == pytest.approx(sum(float(padded_nll(model, each, call)) for each in alone), rel=1e-4)
            assert batch["input_ids"].numel() == sum(len(prepared.train[each].input_ids) for each in samples)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_depends_on_the_picture(family: str, vision_config: Callable[..., SftConfig]) -> None:
    cfg = vision_config(family)
    prepared, model = prepare(cfg), model_of(cfg)
    call = forward_call(model, cfg.attn_implementation)
    batch = batch_of(prepared, [0])
    darker = {name: -value if name == "pixel_values" else value for name, value in batch["model_inputs"].items()}
    with torch.no_grad():
        seen = float(padded_nll(model, batch, call))
        other = float(padded_nll(model, batch | {"model_inputs": darker}, call))
    assert seen != pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_token_of_a_picture_is_a_target(family: str, vision_config: Callable[..., SftConfig]) -> None:
    """With `train_on_inputs`, where everything else is one."""
    cfg = vision_config(family, train_on_inputs="true")
    prepared = prepare(cfg)
    processor = AutoProcessor.from_pretrained(cfg.base_model)
    ids = {getattr(processor, name) for name in vars(processor) if name.endswith("image_token_id")}
    assert ids
    targets = batch_of(prepared, [0, 1, _TEXT_ROW])["targets"].tolist()
    assert not ids & set(targets)
    assert len(targets) > 30


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_text_alone_trains_the_language_model(family: str, vision_config: Callable[..., SftConfig]) -> None:
    cfg = vision_config(family)
    prepared, model = prepare(cfg), model_of(cfg).train()
    batch = batch_of(prepared, [_TEXT_ROW])
    assert "pixel_values" not in batch["model_inputs"]
    padded_nll(model, batch, forward_call(model, cfg.attn_implementation)).backward()
    assert model.get_input_embeddings().weight.grad.abs().sum() > 0


def test_a_blank_row_trains_nothing_and_keeps_every_weight_in_the_graph(
    vision_config: Callable[..., SftConfig],
) -> None:
    cfg = vision_config("llava")
    prepared, model = prepare(cfg), model_of(cfg)
    blank = StoredRows(prepared.train, 9)[np.empty(0, dtype=np.int64)]
    loss = padded_nll(model, PicturedBatches(prepared, "train")([blank]), forward_call(model, "sdpa"))
    loss.backward()
    assert loss.item() == 0
    assert all(float(each.grad.abs().max()) == 0 for each in model.parameters() if each.grad is not None)
    assert model.get_input_embeddings().weight.grad is not None


def test_a_picture_that_changed_after_the_preparation_stops_the_run(
    vision_config: Callable[..., SftConfig], picture_data: Any
) -> None:
    prepared = prepare(vision_config("llava"))
    file = picture_data / "red40.png"
    before = file.read_bytes()
    try:
        file.write_bytes(before + b" ")
        with pytest.raises(DataError, match=r"red40\.png has changed since the data were prepared"):
            batch_of(prepared, [0])
        file.unlink()
        with pytest.raises(DataError, match="there is no file"):
            batch_of(prepared, [0])
    finally:
        file.write_bytes(before)


def test_what_is_saved_leaves_the_processor_of_other_preparations_alone(
    vision_config: Callable[..., SftConfig],
) -> None:
    cfg = vision_config("llava")
    prepared = prepare(cfg)
    assert prepared.processor is not None
    before = prepared.processor.backend.chat_template
    tokenizer = load_tokenizer(cfg, prepared.tokenizer, model_of(cfg))
    tokenizer.chat_template = "another"
    assert saved_with_model(prepared, tokenizer).chat_template == "another"
    assert prepared.processor.backend.chat_template == before


def test_several_processes_need_to_look_for_unused_weights(
    vision_config: Callable[..., SftConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.TrainingArguments.world_size", property(lambda self: 2))
    compute = Compute(bf16=False, use_cpu=True)
    with pytest.raises(ConfigError, match="2 processes wait"):
        training_arguments(vision_config("llava"), compute)
    assert training_arguments(vision_config("llava", ddp_find_unused_parameters="true"), compute)
