"""NEFTune's noise has its size by sample, and is there in training only."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from sft_schema import SftConfig
from sft_train.trainer import SftTrainer
from sft_train.trainer.noise import EmbeddingNoise

MakeConfig = Callable[..., SftConfig]
MakeTrainer = Callable[[SftConfig], SftTrainer]


class Embedder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 64)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding


def test_noise_is_uniform_within_its_limit_for_the_length_of_each_sample() -> None:
    model, alpha = Embedder(), 5.0
    noise = EmbeddingNoise(model, alpha)
    ids = torch.zeros((1, 440), dtype=torch.int64)
    plain = model.embedding(ids)
    with noise.over(torch.tensor([0, 40, 440], dtype=torch.int32)):
        found = (model.embedding(ids) - plain)[0]
    for part, length in ((found[:40], 40), (found[40:], 400)):
        limit = alpha / (length * 64) ** 0.5
        assert part.abs().max() <= limit * 1.0001
        assert part.abs().max() > 0.98 * limit
        assert part.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
        assert abs(part.mean().item()) < 0.05 * limit


def test_there_is_no_noise_outside_of_training_batches() -> None:
    model = Embedder()
    noise, ids = EmbeddingNoise(model, 5.0), torch.arange(4)[None]
    plain = model.embedding.weight[:4][None]
    assert torch.equal(model.embedding(ids), plain)
    model.eval()
    with noise.over(torch.tensor([0, 4])):
        assert torch.equal(model.embedding(ids), plain)


def test_a_run_with_noise_trains_on_other_numbers_and_evaluates_on_the_same(
    config: MakeConfig, trainer: MakeTrainer
) -> None:
    settings = {"max_steps": "2", "save_strategy": "'no'", "val_set_size": "0.25"}
    plain, noisy = trainer(config(**settings)), trainer(config(**settings, neftune_noise_alpha="15.0"))
    assert noisy.held_out_loss() == plain.held_out_loss()
    for each in (plain, noisy):
        each.train()
    first = [each.state.log_history[0]["loss"] for each in (plain, noisy)]
    assert first[0] != first[1]
    assert noisy.held_out_loss() == noisy.held_out_loss()


def test_a_run_with_noise_resumes_with_the_same_noise(config: MakeConfig, trainer: MakeTrainer) -> None:
    settings = {"max_steps": "4", "save_strategy": "steps", "save_steps": "2", "neftune_noise_alpha": "15.0"}
    whole, resumed = trainer(config(**settings)), trainer(config(**settings))
    whole.train()
    resumed.train(resume_from_checkpoint=f"{config().output_dir}/checkpoint-2")
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)
