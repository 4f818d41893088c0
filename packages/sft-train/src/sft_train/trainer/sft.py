"""The Hugging Face Trainer with our batches, our loss and our evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import (
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from sft_data import Prepared
from sft_schema import SftConfig, TrainingError
from sft_train.loss import forward_call, next_token_nll
from sft_train.trainer.held_out import held_out_loss
from sft_train.trainer.rows import EpochRows, StoredRows, held_out_batches, to_tensors
from sft_train.trainer.throughput import Throughput


class SftTrainer(Trainer):
    """Trains on the rows of a preparation.

    What it changes: which rows make a batch (`get_train_dataloader`), the loss (`compute_loss`, over the
    number of trained tokens that `get_batch_samples` counts), and `evaluate`. Everything else is the Trainer's.

    Args:
        model: bare or with an adapter.
        args: see `training_arguments`.
        cfg: the whole config.
        prepared: the data.
        tokenizer: saved with every checkpoint.
        callbacks: besides the Trainer's own.

    Attributes:
        rows: what this process trains on.
        throughput: tokens and seconds so far.
    """

    # transformers 5.23 asks this; older ones ask `model_accepts_loss_kwargs`.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        *,
        cfg: SftConfig,
        prepared: Prepared,
        tokenizer: PreTrainedTokenizerBase,
        callbacks: list[TrainerCallback],
    ) -> None:
        self._cfg, self._prepared = cfg, prepared
        self.rows = EpochRows(
            prepared.train.lengths,
            cfg,
            micro_batch_size=cfg.micro_batch_size,
            process=args.process_index,
            processes=args.world_size,
            shuffle=cfg.shuffle_merged_datasets,
        )
        self.throughput = Throughput()
        self.call = forward_call(model, cfg.attn_implementation)
        self._evaluated: tuple[int, float] | None = None
        self._weights = sum(each.numel() for each in model.parameters())
        held_out = prepared.eval
        super().__init__(
            model,
            args,
            train_dataset=StoredRows(prepared.train, len(self.rows.plan)),
            eval_dataset=None if held_out is None else StoredRows(held_out, len(held_out)),
            data_collator=to_tensors,
            processing_class=tokenizer,
            callbacks=[*callbacks, _EpochStart(self.rows), _StepEnd(self.throughput)],
        )
        self.model_accepts_loss_kwargs = True
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Micro batches of this process. Not sharded again by accelerate: `EpochRows` knows the process."""
        return DataLoader(
            self.train_dataset,
            batch_sampler=self.rows,
            collate_fn=to_tensors,
            pin_memory=self.args.device.type == "cuda",
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator[Mapping[str, Any]], num_batches: int, device: torch.device
    ) -> tuple[list[Mapping[str, Any]], Tensor]:
        """The micro batches of one optimizer step, and the trained tokens in them on all processes (int64 `[]`)."""
        self.throughput.begin_step()
        if self.state.global_step >= self.state.max_steps:
            # Resumed where the run had ended already; the Trainer would do one step too many.
            self.control.should_training_stop = True
            return [], torch.zeros((), dtype=torch.int64)
        batches = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        # A batch without targets is a blank one: every real row has something to train.
        tokens = sum(batch["input_ids"].numel() for batch in batches if batch["targets"].numel())
        trained = sum(batch["targets"].numel() for batch in batches)
        counts = torch.tensor([tokens, trained], device=device)
        if self.args.world_size > 1:
            counts = self.accelerator.reduce(counts, "sum")
            tokens, trained = counts.tolist()
        self.throughput.add(tokens, trained)
        return batches, counts[1]

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        """This micro batch's part of the step's loss.

        Args:
            model: possibly wrapped for several processes.
            inputs: see `to_tensors`.
            return_outputs: not supported; the outputs of most positions are never computed.
            num_items_in_batch: trained tokens of the whole step on all processes, int64 `[]`.
        """
        nll = next_token_nll(model, inputs, self.call)
        # Gradients are averaged over processes afterwards, which divides by their number once too often.
        return nll * self.accelerator.num_processes / num_items_in_batch

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Loss per trained token over all held-out rows, logged as `eval_loss`.

        Raises:
            TrainingError: it is not a number.
        """
        step = self.state.global_step
        if self._evaluated is None or self._evaluated[0] != step:
            self._evaluated = (step, self.held_out_loss())
            self.log({f"{metric_key_prefix}_loss": self._evaluated[1]})
        metrics = {f"{metric_key_prefix}_loss": self._evaluated[1]}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def held_out_loss(self) -> float:
        """The same without logging it."""
        store = self._prepared.eval
        assert store is not None, "without held-out rows there is nothing to evaluate"
        shares = held_out_batches(
            store.lengths,
            self._cfg,
            rows=self._cfg.eval_batch_size,
            process=self.args.process_index,
            processes=self.args.world_size,
        )
        rows = StoredRows(store, len(store))
        batches = (self._prepare_inputs(to_tensors([rows[each] for each in share])) for share in shares)
        return held_out_loss(self.model, batches, self.call, self.accelerator)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds tokens per second to what is logged of training; leaves the Trainer's closing totals out.

        Raises:
            TrainingError: the loss is not a number.
        """
        if "train_runtime" in logs:
            return
        if "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise _not_finite("loss", logs["loss"], self.state.global_step)
            logs = logs | self.throughput.rates()
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: Mapping[str, Any]) -> int:
        """6 per weight and token, with the weights counted once and not at every step."""
        return 6 * inputs["input_ids"].numel() * self._weights

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """Stops before the optimizer would spread a gradient that is not a number over all weights."""
        norm = super()._get_grad_norm(model, grad_norm)
        if not math.isfinite(float(norm)):
            raise _not_finite("norm of the gradient", float(norm), self.state.global_step + 1)
        return norm


def _not_finite(what: str, value: float, step: int) -> TrainingError:
    fix = (
        "lower `learning_rate`, add `warmup_steps`, set `max_grad_norm: 1.0`; "
        "`resume_from_checkpoint: true` goes on from the last checkpoint"
    )
    return TrainingError(f"the {what} is {value} at step {step}", fix=fix)


class _EpochStart(TrainerCallback):
    """Plans each epoch's rows. The number of the epoch comes from the steps done, so it is right after a resume."""

    def __init__(self, rows: EpochRows) -> None:
        self.rows = rows

    def on_epoch_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        steps = math.ceil(len(self.rows) / args.gradient_accumulation_steps)
        self.rows.start_epoch(state.global_step // steps)


class _StepEnd(TrainerCallback):
    """Stops the clock of a step, and sees to it that the last step before a save or the end is logged."""

    def __init__(self, throughput: Throughput) -> None:
        self.throughput = throughput

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        self.throughput.end_step()
        if control.should_save or state.global_step >= state.max_steps:
            control.should_log = True

    def on_epoch_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_log = control.should_log or control.should_save
