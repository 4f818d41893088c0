from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from sft_data import plan_packs, prepare
from sft_schema import SftConfig, TrainingError
from sft_train.compute import Compute
from sft_train.loss import next_token_nll
from sft_train.model import load_model, load_tokenizer
from sft_train.trainer import SftTrainer, training_arguments
from sft_train.trainer.rows import EpochRows, to_tensors

MakeConfig = Callable[..., SftConfig]
CPU = Compute(bf16=False, use_cpu=True)


def build(cfg: SftConfig, callbacks: list[TrainerCallback] | None = None) -> SftTrainer:
    args, prepared, model = training_arguments(cfg, CPU), prepare(cfg), load_model(cfg, cfg.seed, CPU)
    tokenizer = load_tokenizer(cfg, prepared.tokenizer, model)
    return SftTrainer(model, args, cfg=cfg, prepared=prepared, tokenizer=tokenizer, callbacks=callbacks or [])


class Seen(SftTrainer):
    """Keeps the tokens of every micro batch that is trained on."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        self.__dict__.setdefault("seen", []).append(inputs["input_ids"][0].tolist())
        return super().compute_loss(model, inputs, *args, **kwargs)


def rows_of(trainer: SftTrainer, cfg: SftConfig, epoch: int) -> list[list[int]]:
    """Tokens of the rows of an epoch, straight from the plan."""
    store = trainer.train_dataset.store
    plan = plan_packs(store.lengths, cfg, epoch=epoch)
    return [
        [token for sample in plan.row(row) for token in store[int(sample)].input_ids.tolist()]
        for row in range(len(plan))
    ]


def test_each_epoch_is_planned_anew(config: MakeConfig) -> None:
    cfg = config(num_epochs="3", gradient_accumulation_steps="2")
    trainer = build(cfg)
    trainer.__class__ = Seen
    trainer.train()
    wanted = [rows_of(trainer, cfg, epoch) for epoch in range(3)]
    assert wanted[0] != wanted[1] != wanted[2]
    assert trainer.__dict__["seen"] == [row for epoch in wanted for row in epoch]


def test_resumed_run_goes_on_in_the_epoch_it_was_in(config: MakeConfig, tmp_path: Path) -> None:
    cfg = config(num_epochs="3", save_strategy="steps", save_steps="1", save_total_limit="99")
    trainer = build(cfg)
    trainer.train()
    rows = [row for epoch in range(3) for row in rows_of(trainer, cfg, epoch)]
    per_epoch = len(rows) // 3
    for step in (1, per_epoch, per_epoch + 2, 2 * per_epoch):
        again = build(cfg)
        again.__class__ = Seen
        again.train(resume_from_checkpoint=f"{cfg.output_dir}/checkpoint-{step}")
        assert again.__dict__["seen"] == rows[step:]


@pytest.mark.parametrize("strategy", ["ffd", "spfhp", "sequential", "wrapped"])
def test_a_resumed_run_has_the_same_rows_and_losses_with_every_strategy(
    config: MakeConfig, tmp_path: Path, strategy: str
) -> None:
    cfg = config(
        num_epochs="2", save_strategy="steps", save_steps="1", save_total_limit="99", packing_strategy=strategy
    )
    whole = build(cfg)
    whole.__class__ = Seen
    whole.train()
    plans = [plan_packs(whole.train_dataset.store.lengths, cfg, epoch=epoch) for epoch in range(2)]
    rows = [whole.train_dataset[plan.row(row)].input_ids.tolist() for plan in plans for row in range(len(plan))]
    assert whole.__dict__["seen"] == rows
    assert (plans[0].cuts > 0) is (strategy == "wrapped")
    step = len(plans[0]) + 1
    again = build(cfg)
    again.__class__ = Seen
    again.train(resume_from_checkpoint=f"{cfg.output_dir}/checkpoint-{step}")
    assert again.__dict__["seen"] == rows[step:]
    losses = [[line["loss"] for line in each.state.log_history if "loss" in line] for each in (whole, again)]
    assert losses[0] == losses[1]
    assert all(map(math.isfinite, losses[0]))


def test_a_step_with_nothing_to_train_has_a_loss_of_zero(config: MakeConfig) -> None:
    """As a row can be with `wrapped`, where it is a piece of a long prompt."""
    trainer = build(config(max_steps="1"))
    trainer.state.max_steps = 1
    batch = to_tensors([trainer.train_dataset[trainer.rows.plan.row(0)[:0]]])
    assert batch["targets"].numel() == 0
    batches, count = trainer.get_batch_samples(iter([batch]), 1, torch.device("cpu"))
    assert count.item() == 1
    assert trainer.compute_loss(trainer.model, batches[0], num_items_in_batch=count).item() == 0.0


def test_balance_is_asked_for_in_the_config(config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(EpochRows, "balance", lambda self, accumulation: asked.append(accumulation))
    build(config(gradient_accumulation_steps="3"))
    assert asked == []
    build(config(gradient_accumulation_steps="3", packing_balance="attention"))
    assert asked == [3]


def test_logged_loss_is_the_mean_over_all_trained_tokens_of_the_step(config: MakeConfig) -> None:
    cfg = config(max_steps="1", gradient_accumulation_steps="3", micro_batch_size="2")
    trainer = build(cfg)
    store, plan = trainer.train_dataset.store, trainer.rows.plan
    nll, tokens = 0.0, 0
    with torch.no_grad():
        for row in range(6):
            batch = to_tensors([trainer.train_dataset[plan.row(row)]])
            nll += next_token_nll(trainer.model, batch, trainer.call).item()
            tokens += sum(int(store.trained[int(sample)]) for sample in plan.row(row))
    trainer.train()
    logged = next(line["loss"] for line in trainer.state.log_history if "loss" in line)
    assert logged == pytest.approx(nll / tokens, rel=1e-6)
    assert trainer.throughput.trained_tokens == tokens


def test_held_out_loss_weighs_every_token_the_same_whatever_the_batch(config: MakeConfig, data_folder: Path) -> None:
    held_out = {"test_datasets": f"[{{path: {data_folder / 'heldout.jsonl'}}}]"}
    losses = []
    for size, packing in (("1", "true"), ("3", "true"), ("2", "false")):
        trainer = build(config(eval_batch_size=size, sample_packing=packing, **held_out))
        trainer.model.train()
        losses.append(trainer.evaluate()["eval_loss"])
        assert trainer.model.training
    store = prepare(config(**held_out)).eval
    nll = tokens = 0
    with torch.no_grad():
        for sample in store:
            logits = trainer.model(input_ids=torch.tensor(sample.input_ids.tolist())[None]).logits[0, :-1]
            targets = torch.tensor(sample.labels.tolist())[1:]
            nll += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
            tokens += int((targets != -100).sum())
    assert losses == pytest.approx([nll / tokens] * 3, rel=1e-5)


def test_evaluation_reaches_callbacks_once_a_step(config: MakeConfig) -> None:
    class Heard(TrainerCallback):
        def __init__(self) -> None:
            self.metrics: list[Any] = []

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
            self.metrics.append((state.global_step, metrics["eval_loss"]))

    heard = Heard()
    cfg = config(max_steps="4", val_set_size="0.25", eval_strategy="steps", eval_steps="2")
    trainer = build(cfg, [heard])
    trainer.train()
    assert [step for step, _ in heard.metrics] == [2, 4]
    assert heard.metrics[0][1] > heard.metrics[1][1]
    assert trainer.evaluate()["eval_loss"] == heard.metrics[1][1]
    logged = [line["step"] for line in trainer.state.log_history if "eval_loss" in line]
    assert logged == [2, 4]


def test_gradient_that_is_not_a_number_stops_before_the_weights_change(config: MakeConfig) -> None:
    trainer = build(config(max_steps="3"))
    layer = trainer.model.model.layers[0].mlp.down_proj
    with torch.no_grad():
        layer.weight[0, 0] = math.nan
    before = {name: each.clone() for name, each in trainer.model.named_parameters()}
    with pytest.raises(TrainingError, match=r"gradient is nan at step 1[\s\S]*learning_rate"):
        trainer.train()
    for name, each in trainer.model.named_parameters():
        torch.testing.assert_close(each, before[name], equal_nan=True, rtol=0, atol=0)


def test_held_out_loss_that_is_not_a_number_is_an_error(config: MakeConfig) -> None:
    trainer = build(config(val_set_size="0.25"))
    with torch.no_grad():
        trainer.model.lm_head.weight[5] = math.inf
    with pytest.raises(TrainingError, match=r"held-out loss is (nan|inf)"):
        trainer.evaluate()


def test_last_step_is_logged_whatever_the_interval(config: MakeConfig) -> None:
    trainer = build(config(max_steps="5", logging_steps="3"))
    trainer.train()
    assert [line["step"] for line in trainer.state.log_history if "loss" in line] == [1, 3, 5]


def test_step_of_a_checkpoint_is_logged_so_that_a_resumed_run_logs_the_same(config: MakeConfig) -> None:
    settings = {"max_steps": "7", "logging_steps": "3", "save_strategy": "steps", "save_steps": "4"}
    whole, resumed = build(config(**settings)), build(config(**settings))
    whole.train()
    resumed.train(resume_from_checkpoint=f"{config().output_dir}/checkpoint-4")
    lines = [(line["step"], line["loss"]) for line in whole.state.log_history if "loss" in line]
    assert [step for step, _ in lines] == [1, 3, 4, 6, 7]
    assert [(line["step"], line["loss"]) for line in resumed.state.log_history if "loss" in line] == lines


def test_gradient_checkpointing_changes_nothing_but_memory(config: MakeConfig, tmp_path: Path) -> None:
    losses = []
    for on in ("false", "true"):
        trainer = build(config(max_steps="3", gradient_checkpointing=on, output_dir=str(tmp_path / on)))
        trainer.train()
        losses.append([line["loss"] for line in trainer.state.log_history if "loss" in line])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


class Killed(SftTrainer):
    """Dies when it begins to write a checkpoint."""

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt


def test_a_run_that_dies_while_it_saves_leaves_no_folder_of_that_name(config: MakeConfig) -> None:
    cfg = config(max_steps="2", save_steps="2")
    trainer = build(cfg)
    trainer.__class__ = Killed
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert [each.name for each in Path(cfg.output_dir).iterdir()] == [".unfinished-checkpoint-2"]
