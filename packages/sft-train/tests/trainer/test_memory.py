"""What saves memory or time changes nothing else."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sft_schema import SftConfig
from sft_train.callback.garbage import GarbageCollection
from sft_train.compute import Compute
from sft_train.run import run
from sft_train.trainer import SftTrainer, training_arguments
from sft_train.trainer.offload import OffloadedActivations

MakeConfig = Callable[..., SftConfig]
MakeTrainer = Callable[[SftConfig], SftTrainer]
RUN = {"max_steps": "3", "save_strategy": "'no'"}
LORA = {"adapter": "lora", "lora_target_linear": "true", "lora_r": "4"}


def losses(trainer: SftTrainer) -> list[float]:
    trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


@pytest.mark.parametrize("adapter", [{}, LORA], ids=["full", "lora"])
def test_both_ways_of_recomputing_give_the_losses_of_none(
    adapter: dict[str, str], config: MakeConfig, trainer: MakeTrainer
) -> None:
    wanted = losses(trainer(config(**RUN, **adapter)))
    for reentrant in ("true", "false"):
        kwargs = {"gradient_checkpointing": "true", "gradient_checkpointing_kwargs": f"{{use_reentrant: {reentrant}}}"}
        cfg = config(**RUN, **adapter, **kwargs)
        args = training_arguments(cfg, Compute(bf16=False, use_cpu=True))
        chosen = args.activation_checkpointing_kwargs or args.gradient_checkpointing_kwargs
        assert chosen == {"use_reentrant": reentrant == "true"}
        assert losses(trainer(cfg)) == pytest.approx(wanted, rel=1e-6)


def test_offloading_on_a_cpu_is_harmless(config: MakeConfig, trainer: MakeTrainer) -> None:
    wanted = losses(trainer(config(**RUN)))
    assert losses(trainer(config(**RUN, activation_offloading="true"))) == wanted


def test_activations_are_moved_and_weights_and_small_tensors_are_not() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU())
    data = torch.randn(32, 64)
    model(data).sum().backward()
    wanted = [each.grad.clone() for each in model.parameters()]
    model.zero_grad()
    offloaded = OffloadedActivations(model, "cpu")
    kept: list[Any] = []
    pack = offloaded._pack
    offloaded._pack = lambda tensor: kept.append((tensor, pack(tensor))) or kept[-1][1]  # type: ignore[method-assign]
    with offloaded.keeping():
        loss = model(data).sum()
    loss.backward()
    for found, each in zip(model.parameters(), wanted, strict=True):
        assert torch.equal(found.grad, each)
    moved = [tensor for tensor, packed in kept if isinstance(packed, tuple)]
    stayed = [tensor for tensor, packed in kept if not isinstance(packed, tuple)]
    assert {tensor.shape for tensor in moved} == {(32, 64)}
    assert offloaded.moved == sum(tensor.numel() * 4 for tensor in moved) > 0
    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
    assert any(tensor.untyped_storage().data_ptr() in weights for tensor in stayed)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_offloading_lowers_the_peak_of_gpu_memory() -> None:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(1024, 1024), nn.GELU()) for _ in range(16))).cuda()
    data = torch.randn(8192, 1024, device="cuda")
    peaks, gradients = [], []
    for on in (False, True):
        torch.cuda.reset_peak_memory_stats()
        if on:
            with OffloadedActivations(model).keeping():
                loss = model(data).sum()
        else:
            loss = model(data).sum()
        loss.backward()
        peaks.append(torch.cuda.max_memory_allocated())
        gradients.append(model[0][0].weight.grad.clone())
        model.zero_grad()
    assert peaks[1] < 0.5 * peaks[0]
    assert torch.equal(*gradients)


def test_a_compiled_model_has_the_same_losses(config: MakeConfig, trainer: MakeTrainer) -> None:
    wanted = losses(trainer(config(**RUN)))
    each = trainer(config(**RUN, torch_compile="true", torch_compile_backend="aot_eager"))
    assert losses(each) == pytest.approx(wanted, rel=1e-5)
    assert hasattr(each.model_wrapped, "_orig_mod"), "the model that was trained was the compiled one"


def test_compiler_and_cache_settings_reach_the_trainer(config: MakeConfig) -> None:
    cfg = config(torch_compile="true", torch_compile_mode="max-autotune", torch_empty_cache_steps="5")
    args = training_arguments(cfg, Compute(bf16=False, use_cpu=True))
    assert (args.torch_compile_backend, args.torch_compile_mode) == ("inductor", "max-autotune")
    assert args.torch_empty_cache_steps == 5
    assert not training_arguments(config(), Compute(bf16=False, use_cpu=True)).torch_compile


def test_garbage_is_collected_every_so_many_steps(
    config: MakeConfig, trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    each = trainer(config(max_steps="5", save_strategy="'no'", gc_collect_steps="2"))
    steps: list[int] = []
    each.add_callback(GarbageCollection(2))
    monkeypatch.setattr(gc, "collect", lambda *_: steps.append(each.state.global_step) or 0)
    each.train()
    assert set(steps) >= {2, 4}
    assert not {1, 3, 5} & set(steps)


def test_a_compiled_model_is_compiled_a_bounded_number_of_times(config: Callable[..., SftConfig]) -> None:
    """Once for the first shape, and once for all others."""
    torch._dynamo.reset()  # pyright: ignore[reportPrivateUsage]
    torch._dynamo.utils.counters.clear()  # pyright: ignore[reportPrivateUsage]
    run(config(torch_compile="true", torch_compile_backend="eager", max_steps="9", num_epochs="9"))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2  # pyright: ignore[reportPrivateUsage]
