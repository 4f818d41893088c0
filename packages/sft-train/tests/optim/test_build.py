"""Every optimizer of the table is built, learns, keeps its states as it says, and goes on from a checkpoint."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sft_schema import ConfigError, SftConfig
from sft_schema.optim import OPTIMIZERS
from sft_train.optim import MuonWithAdamW, build_optimizer
from sft_train.trainer import SftTrainer

MakeConfig = Callable[..., SftConfig]
MakeTrainer = Callable[[SftConfig], SftTrainer]

RATES = {
    "radam": "3e-2",
    "sgd": "0.1",
    "schedule_free_sgd": "0.5",
    "lion": "3e-4",
    "rmsprop": "3e-4",
    "adagrad": "1e-2",
}
ARGS = {
    "adafactor": "clip_threshold: 2.0, decay_rate: -0.7, beta1: 0.5",
    "ademamix": "beta3: 0.999, alpha: 2.0, t_alpha: 10, t_beta3: 10",
    "muon": "momentum: 0.9, nesterov: false, ns_steps: 4, adjust_lr_fn: original",
    "sgd": "momentum: 0.9, nesterov: true",
    "adagrad": "lr_decay: 0.1, initial_accumulator_value: 0.1, eps: 1.0e-8",
    "rmsprop": "alpha: 0.9, momentum: 0.1, centered: true, eps: 1.0e-7",
    "rmsprop_bnb_32bit": "alpha: 0.9, momentum: 0.1, eps: 1.0e-7",
    "schedule_free_adamw": "r: 1.0, weight_lr_power: 1.0",
    "schedule_free_sgd": "momentum: 0.8",
}


def with_extras(names: Iterable[str]) -> list[Any]:
    """A test's parameters: optimizers, each marked with the library that it needs."""
    extras = {name: OPTIMIZERS[name].extra for name in names}
    return [pytest.param(name, marks=[pytest.mark.extra(extra)] if extra else []) for name, extra in extras.items()]


def settings(name: str) -> dict[str, str]:
    """A short run of this optimizer."""
    rate = next((rate for prefix, rate in RATES.items() if prefix in name), "3e-3")
    small = {"optim_args": "{min_8bit_size: 0}"} if OPTIMIZERS[name].state_dtype == "uint8" else {}
    schedule = "constant" if OPTIMIZERS[name].schedule_free else "cosine"
    return {
        "optimizer": name,
        "learning_rate": rate,
        "lr_scheduler": schedule,
        "weight_decay": "0.01",
        "max_steps": "8",
        "save_strategy": "steps",
        "save_steps": "4",
        **({"adam_beta2": "0.8"} if "radam" in name else {}),  # its steps begin once the variance is known
        **small,
    }


def losses(trainer: SftTrainer) -> list[float]:
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def states_of(trainer: SftTrainer, weight: Tensor) -> list[Tensor]:
    """Running averages of a weight that have an entry for each of its own."""
    state = trainer.optimizer.state[weight]
    return [each for each in state.values() if isinstance(each, Tensor) and each.shape == weight.shape]


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("name", with_extras(OPTIMIZERS))
def test_a_row_learns_keeps_its_states_and_resumes(
    name: str, config: MakeConfig, trainer: MakeTrainer, tmp_path: Path
) -> None:
    cfg = config(**settings(name))
    whole = trainer(cfg)
    whole.train()
    found = losses(whole)
    assert sum(found[-2:]) < 0.97 * sum(found[:2]), found
    layer = whole.model.model.layers[0].mlp.gate_proj.weight
    wanted = getattr(torch, OPTIMIZERS[name].state_dtype)
    assert {each.dtype for each in states_of(whole, layer)} <= {wanted}
    assert states_of(whole, layer) or name in ("adafactor", "sgd")

    resumed = trainer(config(**settings(name)))
    resumed.train(resume_from_checkpoint=f"{cfg.output_dir}/checkpoint-4")
    assert losses(resumed) == found
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", with_extras(ARGS))
def test_optim_args_reach_the_optimizer(name: str, config: MakeConfig, trainer: MakeTrainer) -> None:
    base = {key: value for key, value in settings(name).items() if "save" not in key} | {"max_steps": "3"}
    plain = trainer(config(save_strategy="'no'", **base))
    changed = trainer(config(save_strategy="'no'", optim_args=f"{{{ARGS[name]}}}", **base))
    for each in (plain, changed):
        each.train()
    assert losses(plain)[0] == losses(changed)[0]
    assert losses(plain)[2] != losses(changed)[2]


def test_amsgrad_keeps_the_largest_second_moment(config: MakeConfig) -> None:
    model = Tiny()
    optimizer = build_optimizer(model, config(optim_args="{amsgrad: true}"), [])
    model(torch.arange(8)).pow(2).mean().backward()
    optimizer.step()
    assert "max_exp_avg_sq" in optimizer.state[model.hidden.weight]


@pytest.mark.extra("bitsandbytes")
def test_small_layers_and_the_embedding_keep_float32_states_under_an_8_bit_optimizer(
    config: MakeConfig, trainer: MakeTrainer
) -> None:
    for optim_args, wanted in (("{}", torch.float32), ("{min_8bit_size: 0}", torch.uint8)):
        each = trainer(config(optimizer="adamw_8bit", optim_args=optim_args, max_steps="1"))
        each.train()
        assert states_of(each, each.model.model.layers[0].self_attn.k_proj.weight)[0].dtype == wanted
        assert states_of(each, each.model.model.embed_tokens.weight)[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("name", "package"), [("adamw_bnb_8bit", "bitsandbytes"), ("schedule_free_adamw", "schedulefree")]
)
def test_a_missing_package_is_named_with_its_extra(
    name: str, package: str, config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    schedule = "constant" if name.startswith("schedule") else "cosine"
    with pytest.raises(ConfigError, match=rf"{name} needs {package}[\s\S]*sft-train\[{package}\]"):
        build_optimizer(Tiny(), config(optimizer=name, lr_scheduler=schedule), [])


class Tiny(nn.Module):
    """An embedding, a matrix with a bias, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.hidden, self.head = nn.Embedding(8, 4), nn.Linear(4, 4), nn.Linear(4, 8, bias=False)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(self.embedding(ids))))


def test_muon_takes_hidden_matrices_and_adamw_the_rest(config: MakeConfig) -> None:
    model = Tiny()
    optimizer = build_optimizer(model, config(optimizer="muon", weight_decay="0.1"), ["hidden.weight"])
    assert isinstance(optimizer, MuonWithAdamW)
    muon, adamw = optimizer.parts
    assert [each for group in muon.param_groups for each in group["params"]] == [model.hidden.weight]
    assert muon.param_groups[0]["weight_decay"] == 0.1
    rest = [each for group in adamw.param_groups for each in group["params"]]
    assert {id(each) for each in rest} == {
        id(model.embedding.weight), id(model.hidden.bias), id(model.head.weight)
    }  # fmt: skip
    before = model.hidden.weight.detach().clone()
    model(torch.arange(8)).pow(2).mean().backward()
    optimizer.step()
    # An orthogonal step: its singular values are alike, whatever those of the gradient are.
    sizes = torch.linalg.svdvals(model.hidden.weight.detach() - before * (1 - 1e-3 * 0.1))
    assert sizes.max() / sizes.min() < 3


def test_muon_goes_on_from_its_state_as_if_never_stopped(config: MakeConfig) -> None:
    torch.manual_seed(0)
    models = [Tiny(), Tiny()]
    models[1].load_state_dict(models[0].state_dict())
    cfg = config(optimizer="muon")
    optimizers = [build_optimizer(each, cfg, []) for each in models]

    def step(index: int) -> None:
        models[index](torch.arange(8)).pow(2).mean().backward()
        optimizers[index].step()
        optimizers[index].zero_grad()

    step(0)
    models[1].load_state_dict(models[0].state_dict())
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    for _ in range(3):
        step(0)
        step(1)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_learning_rate_that_is_changed_reaches_both_parts_of_muon(config: MakeConfig) -> None:
    model = Tiny()
    optimizer: Any = build_optimizer(model, config(optimizer="muon"), [])
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [each.detach().clone() for each in model.parameters()]
    model(torch.arange(8)).pow(2).mean().backward()
    optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
