from __future__ import annotations

from collections.abc import Callable

import pytest
from transformers import TrainingArguments

from sft_schema import SftConfig, TrainingError
from sft_train.checkpoint import run_identity
from sft_train.compute import Compute
from sft_train.trainer.arguments import check_one_gpu, training_arguments

MakeConfig = Callable[..., SftConfig]


def arguments(cfg: SftConfig) -> TrainingArguments:
    return training_arguments(cfg, Compute(bf16=False, use_cpu=True))


@pytest.mark.parametrize(("settings", "steps"), [({"warmup_steps": "7"}, 7), ({"warmup_ratio": "0.1"}, 20), ({}, 0)])
def test_warmup_is_a_number_of_steps_or_a_fraction(config: MakeConfig, settings: dict[str, str], steps: int) -> None:
    assert arguments(config(**settings)).get_warmup_steps(200) == steps


def test_lengths_of_a_run(config: MakeConfig) -> None:
    by_epochs, by_steps = arguments(config(num_epochs="2.5")), arguments(config(max_steps="9"))
    assert (by_epochs.num_train_epochs, by_epochs.max_steps) == (2.5, -1)
    assert by_steps.max_steps == 9


def test_batch_size_is_the_micro_batch_times_the_accumulation(config: MakeConfig) -> None:
    args = arguments(config(batch_size="12", micro_batch_size="3"))
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (3, 4)
    said, other = (
        run_identity(config(micro_batch_size="3", **each), "data", 2)
        for each in ({"batch_size": "12"}, {"gradient_accumulation_steps": "4"})
    )
    assert said == other
    assert said["rows_per_step"] == 24


def test_packing_is_part_of_what_a_checkpoint_belongs_to(config: MakeConfig) -> None:
    """Only where it is not the default: checkpoints that are older than the settings go on."""

    def identity(**settings: str) -> dict[str, object]:
        return run_identity(config(**settings), "data", 1)

    plain = identity()
    assert plain == identity(packing_strategy="bfd", packing_balance="none")
    assert not {"packing_strategy", "max_samples_per_pack", "packing_balance"} & plain.keys()
    for settings in ({"packing_strategy": "ffd"}, {"max_samples_per_pack": "3"}, {"packing_balance": "attention"}):
        assert identity(**settings) != plain


def test_gradient_checkpointing_is_on_under_whatever_name_the_version_has(config: MakeConfig) -> None:
    def is_on(args: TrainingArguments) -> bool:
        return getattr(args, "activation_checkpointing", False) or args.gradient_checkpointing

    assert is_on(arguments(config(gradient_checkpointing="true")))
    assert not is_on(arguments(config()))


def test_what_would_hide_or_change_results_is_off(config: MakeConfig) -> None:
    args = arguments(config(save_strategy="steps", save_steps="3", save_total_limit="2"))
    assert args.logging_nan_inf_filter is False
    assert args.remove_unused_columns is False
    assert args.average_tokens_across_devices is True
    assert list(args.report_to) == []
    assert args.save_steps == 3
    assert args.save_total_limit is None, "the Trainer would delete the newest checkpoint at the end of a run"


def test_several_gpus_in_one_process_are_refused_with_both_ways_out() -> None:
    check_one_gpu(0)
    check_one_gpu(1)
    with pytest.raises(TrainingError, match=r"4 GPUs[\s\S]*--nproc-per-node 4[\s\S]*CUDA_VISIBLE_DEVICES=0"):
        check_one_gpu(4)
