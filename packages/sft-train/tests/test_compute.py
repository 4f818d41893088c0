"""Number formats are those that the config asks for, or refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from sft_schema import ConfigError, SftConfig, TrainingError
from sft_train.compute import Compute, resolve_compute, set_float32_products
from sft_train.model.attention import check_backend
from sft_train.run import run
from sft_train.trainer import SftTrainer, training_arguments

MakeConfig = Callable[..., SftConfig]
MakeTrainer = Callable[[SftConfig], SftTrainer]


def test_float16_is_refused_without_a_cuda_device(config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"needs a CUDA device[\s\S]*bf16: auto"):
        resolve_compute(config(fp16="true"))


@pytest.mark.parametrize("bf16", ["auto", "false"])
def test_float16_is_chosen_over_what_bf16_would_choose(
    bf16: str, config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert resolve_compute(config(fp16="true", bf16=bf16)) == Compute(bf16=False, use_cpu=False, fp16=True)


def test_float16_reaches_the_trainer_and_attention_in_half_precision_takes_it(config: MakeConfig) -> None:
    assert training_arguments(config(), Compute(bf16=False, use_cpu=True, fp16=True)).fp16
    with pytest.raises(ConfigError, match="needs flash-attn"):
        check_backend("flash_attention_2", Compute(bf16=False, use_cpu=False, fp16=True))


@pytest.mark.parametrize(("tf32", "precision"), [("true", "tf32"), ("auto", "tf32"), ("false", "ieee")])
def test_tf32_is_allowed_or_forbidden_for_all_products(
    tf32: str, precision: str, config: MakeConfig, request: pytest.FixtureRequest
) -> None:
    places: list[Any] = [torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul]
    for place in places:
        request.addfinalizer(partial(setattr, place, "fp32_precision", place.fp32_precision))
    set_float32_products(config(tf32=tf32))
    assert [place.fp32_precision for place in places] == [precision] * 3


def test_an_overflow_is_left_to_the_loss_scaler_until_it_has_nothing_left_to_lower(
    config: MakeConfig, trainer: MakeTrainer
) -> None:
    """A real scaler, on the CPU, in front of a gradient that is not finite."""
    each = trainer(config(max_steps="1"))
    each.create_optimizer()
    weight = each.model.lm_head.weight
    weight.grad = torch.full_like(weight, torch.inf)
    each.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    each.accelerator.scaler.scale(torch.ones(()))  # scalers make their scale at first use
    assert float(each._get_grad_norm(each.model, torch.tensor(torch.inf))) == torch.inf
    each.accelerator.scaler.update(0.5)
    with pytest.raises(TrainingError, match="norm of the gradient is inf"):
        each._get_grad_norm(each.model, torch.tensor(torch.inf))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_in_float16_has_nearly_the_losses_of_float32(config: MakeConfig) -> None:
    found = []
    for name, on in (("half", {"fp16": "true"}), ("single", {"bf16": "false"})):
        cfg = config(max_steps="6", val_set_size="0.25", output_dir=f"{config().output_dir}-{name}", **on)
        found.append(run(cfg).eval_loss_after)
    assert found[0] == pytest.approx(found[1], rel=2e-2)
