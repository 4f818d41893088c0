"""A schedule-free optimizer trains at one point and answers from another; the right one is there at the right time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sft_schema import SftConfig
from sft_train.trainer import SftTrainer

MakeConfig = Callable[..., SftConfig]
MakeTrainer = Callable[[SftConfig], SftTrainer]
pytestmark = pytest.mark.extra("schedulefree")
FREE = {"optimizer": "schedule_free_adamw", "lr_scheduler": "constant_with_warmup", "warmup_steps": "2"}


def losses(trainer: SftTrainer) -> list[float]:
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def test_a_checkpoint_and_the_final_model_hold_the_averaged_weights(
    config: MakeConfig, trainer: MakeTrainer, tmp_path: Path
) -> None:
    cfg = config(**FREE, learning_rate="1e-2", max_steps="6", save_strategy="steps", save_steps="6")
    each = trainer(cfg)
    each.train()
    name = "model.layers.0.mlp.gate_proj.weight"
    saved = load_file(Path(cfg.output_dir) / "checkpoint-6" / "model.safetensors")
    weight = each.model.get_parameter(name)
    averaged = weight.detach().clone()
    torch.testing.assert_close(saved[name], averaged, rtol=0, atol=0)
    each.optimizer.train()
    # y = (1 - beta1) z + beta1 x: the point where gradients are taken
    z = each.optimizer.state[weight]["z"]
    torch.testing.assert_close(weight.detach(), 0.1 * z + 0.9 * averaged, rtol=1e-5, atol=1e-6)
    assert not torch.equal(weight.detach(), averaged)


def test_evaluation_is_of_the_averaged_weights_and_leaves_training_as_it_was(
    config: MakeConfig, trainer: MakeTrainer, data_folder: Path, tmp_path: Path
) -> None:
    held_out = {"test_datasets": f"[{{path: {data_folder / 'heldout.jsonl'}}}]"}
    steps = {"learning_rate": "1e-2", "max_steps": "5", "save_strategy": "'no'"}
    quiet = trainer(config(**FREE, **steps, **held_out))
    asked = trainer(config(**FREE, **steps, **held_out, eval_strategy="steps", eval_steps="2"))
    quiet.train()
    asked.train()
    assert losses(asked) == pytest.approx(losses(quiet), abs=1e-5)
    at_averages = asked.held_out_loss()
    asked.optimizer.train()
    training_point = [each.detach().clone() for each in asked.model.parameters()]
    assert asked.held_out_loss() == pytest.approx(at_averages, abs=1e-6)
    assert any(not torch.equal(one, two) for one, two in zip(training_point, asked.model.parameters(), strict=True))
    logged = [line["eval_loss"] for line in asked.state.log_history if "eval_loss" in line]
    assert logged[-1] == pytest.approx(at_averages, abs=1e-6)


def test_the_best_weights_stay_as_they_were_saved(config: MakeConfig, trainer: MakeTrainer, data_folder: Path) -> None:
    by_steps = {
        key: value
        for what in ("save", "eval")
        for key, value in ((f"{what}_strategy", "steps"), (f"{what}_steps", "2"))
    }
    held_out = {"test_datasets": f"[{{path: {data_folder / 'heldout.jsonl'}}}]", "load_best_model_at_end": "true"}
    cfg = config(**FREE, **by_steps, **held_out, learning_rate="1e-2", max_steps="5")
    each = trainer(cfg)
    each.train()
    saved = load_file(Path(each.state.best_model_checkpoint) / "model.safetensors")
    for name, weight in each.model.named_parameters():
        torch.testing.assert_close(weight.detach(), saved[name], rtol=0, atol=0)
