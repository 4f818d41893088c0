from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sft_schema import ConfigError, SftConfig
from sft_train.checkpoint import run_identity
from sft_train.checkpoint.identity import check_identity
from sft_train.run import run

MakeConfig = Callable[..., SftConfig]
FOLDER = Path("out/checkpoint-7")


def stored(cfg: SftConfig, **kwargs: object) -> dict[str, object]:
    """As it comes back from a checkpoint."""
    return json.loads(json.dumps(run_identity(cfg, "f00", 1)))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"seed": "1"}, "seed was 42 in checkpoint-7 and is 1"),
        ({"sequence_len": "300"}, "sequence_len was 256"),
        ({"sample_packing": "false"}, "sample_packing was True"),
        ({"gradient_accumulation_steps": "3"}, r"gradient_accumulation_steps x processes was 4 .* and is 12"),
        ({"adapter": "lora", "lora_target_linear": "true"}, "adapter was None"),
        ({"optimizer": "sgd"}, "optimizer was 'adamw_torch_fused'"),
    ],
)
def test_what_changes_the_order_or_the_weights_is_refused_by_name(
    config: MakeConfig, settings: dict[str, str], told: str
) -> None:
    was = stored(config(micro_batch_size="4"))
    with pytest.raises(ConfigError, match=told):
        check_identity(FOLDER, was, run_identity(config(micro_batch_size="4", **settings), "f00", 1))


def test_other_data_are_refused(config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="the prepared data"):
        check_identity(FOLDER, stored(config()), run_identity(config(), "f01", 1))


def test_all_differences_are_told_at_once(config: MakeConfig) -> None:
    with pytest.raises(ConfigError) as caught:
        check_identity(FOLDER, stored(config()), run_identity(config(seed="2", sequence_len="9"), "f00", 1))
    assert {issue.path for issue in caught.value.issues} == {("seed",), ("sequence_len",)}


def test_what_keeps_the_order_may_change(config: MakeConfig) -> None:
    was = stored(config(micro_batch_size="4"))
    now = config(
        micro_batch_size="1",
        gradient_accumulation_steps="2",
        learning_rate="0.5",
        num_epochs="9",
        save_strategy='"no"',
        logging_steps="7",
    )
    check_identity(FOLDER, was, run_identity(now, "f00", 2))


def test_lora_checkpoint_belongs_to_its_model(config: MakeConfig) -> None:
    lora = {"adapter": "lora", "lora_target_modules": "[q_proj]"}
    was = stored(config(**lora))
    check_identity(FOLDER, was, run_identity(config(**lora), "f00", 1))
    with pytest.raises(ConfigError, match="base_model"):
        check_identity(FOLDER, was, run_identity(config(base_model="other", **lora), "f00", 1))


def test_run_refuses_to_resume_with_another_batch(config: MakeConfig) -> None:
    saving = {"max_steps": "2", "save_strategy": "steps", "save_steps": "1"}
    run(config(**saving))
    with pytest.raises(ConfigError, match="micro_batch_size"):
        run(config(micro_batch_size="2", resume_from_checkpoint="true", **saving))
