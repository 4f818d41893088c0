"""Each weight has the learning rate and the decay that the config gives it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sft_schema import ConfigError, SftConfig
from sft_train.checkpoint import run_identity
from sft_train.trainer import SftTrainer

MakeConfig = Callable[..., SftConfig]
MakeTrainer = Callable[[SftConfig], SftTrainer]
LORA = {"adapter": "lora", "lora_r": "4", "lora_target_modules": "[q_proj, embed_tokens]", "learning_rate": "1e-4"}


def rates(trainer: SftTrainer) -> dict[str, tuple[float, float]]:
    """Name of each trained weight to its learning rate and decay."""
    names = {id(each): name for name, each in trainer.model.named_parameters()}
    found = {
        names[id(each)]: (group["lr"], group["weight_decay"])
        for group in trainer.create_optimizer().param_groups
        for each in group["params"]
    }
    assert len(found) == sum(each.requires_grad for each in trainer.model.parameters())
    return found


def test_biases_and_norms_do_not_decay(config: MakeConfig, trainer: MakeTrainer) -> None:
    found = rates(trainer(config(weight_decay="0.1")))
    assert found["model.layers.0.mlp.up_proj.weight"] == (1e-3, 0.1)
    assert found["model.layers.0.input_layernorm.weight"] == found["model.norm.weight"] == (1e-3, 0.0)


@pytest.mark.parametrize(("setting", "value"), [("embedding_lr", "5e-5"), ("embedding_lr_scale", "0.05")])
def test_embedding_and_head_have_their_own_rate(
    setting: str, value: str, config: MakeConfig, trainer: MakeTrainer
) -> None:
    found = rates(trainer(config(**{setting: value})))
    assert found["model.embed_tokens.weight"][0] == found["lm_head.weight"][0] == pytest.approx(5e-5)
    assert found["model.layers.0.mlp.up_proj.weight"][0] == found["model.norm.weight"][0] == 1e-3


def test_an_embedding_that_is_trained_whole_beside_an_adapter_has_the_embedding_rate(
    config: MakeConfig, trainer: MakeTrainer
) -> None:
    settings = LORA | {"lora_target_modules": "[q_proj]", "lora_modules_to_save": "[embed_tokens]"}
    found = rates(trainer(config(**settings, embedding_lr="1e-6")))
    by_rate = {rate: [name for name in found if found[name][0] == rate] for rate, _ in found.values()}
    assert by_rate.keys() == {1e-6, 1e-4}
    assert all("embed_tokens" in name for name in by_rate[1e-6])
    assert not any("embed_tokens" in name for name in by_rate[1e-4])


def test_an_embedding_rate_without_a_trained_embedding_is_refused(config: MakeConfig, trainer: MakeTrainer) -> None:
    settings = LORA | {"lora_target_modules": "[q_proj]"}
    with pytest.raises(ConfigError, match=r"neither the embedding nor the head is trained[\s\S]*lora_modules_to_save"):
        trainer(config(**settings, embedding_lr="1e-6")).create_optimizer()


def test_groups_are_found_by_whole_parts_of_names(config: MakeConfig, trainer: MakeTrainer) -> None:
    groups = "[{name: first, modules: [layers.0], lr: 1e-5}, {name: v, modules: [layers.1.self_attn.v_proj], lr: 2e-5}]"
    found = rates(trainer(config(lr_groups=groups, weight_decay="0.1")))
    for name, (rate, decay) in found.items():
        wanted = 1e-5 if ".layers.0." in name else 2e-5 if "v_proj" in name else 1e-3
        assert (rate, decay) == (wanted, 0.0 if "norm" in name else 0.1), name


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("[{name: a, modules: [layers.7], lr: 1e-5}]", r"no weight that is trained lies in 'layers.7'[\s\S]*mlp"),
        (
            "[{name: a, modules: [q_proj], lr: 1e-5}, {name: b, modules: [layers.1], lr: 1e-6}]",
            r"q_proj.weight lies in two groups, 'a' and 'b'",
        ),
    ],
)
def test_a_group_that_is_empty_or_overlaps_is_refused(
    groups: str, message: str, config: MakeConfig, trainer: MakeTrainer
) -> None:
    with pytest.raises(ConfigError, match=message):
        trainer(config(lr_groups=groups)).create_optimizer()


def test_loraplus_trains_b_faster_than_a(config: MakeConfig, trainer: MakeTrainer) -> None:
    found = rates(trainer(config(**LORA, loraplus_lr_ratio="16", loraplus_lr_embedding="2e-6")))
    kinds = {("embedding" if "lora_embedding" in name else name.split(".")[-3]): found[name][0] for name in found}
    assert kinds == {"embedding": 2e-6, "lora_A": 1e-4, "lora_B": pytest.approx(1.6e-3)}


def test_the_schedule_scales_all_rates_alike_and_the_log_shows_the_common_one(
    config: MakeConfig, trainer: MakeTrainer
) -> None:
    each = trainer(config(embedding_lr="1e-5", lr_scheduler="linear", max_steps="4", save_strategy="'no'"))
    each.train()
    logged = [line["learning_rate"] for line in each.state.log_history if "learning_rate" in line]
    assert logged == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])
    assert {group["initial_lr"] for group in each.optimizer.param_groups} == {1e-3, 1e-5}


def test_a_run_does_not_go_on_with_other_groups(config: MakeConfig) -> None:
    def identity(**settings: str) -> dict[str, object]:
        return run_identity(config(**settings), "data", 1)

    one = identity(lr_groups="[{name: a, modules: [q_proj], lr: 1e-5}]")
    assert one != identity()
    assert one == identity(lr_groups="[{name: a, modules: [q_proj], lr: 2e-5}]")
    assert identity(embedding_lr="1e-5") == identity(embedding_lr="1e-6") != identity()
    assert identity(**LORA, loraplus_lr_ratio="4") != identity(**LORA)
