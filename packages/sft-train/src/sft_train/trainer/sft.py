"""The Hugging Face Trainer with our batches, our loss and our evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from transformers import (
    DefaultFlowCallback,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
)

from sft_data import Prepared, SampleStore
from sft_schema import BACKENDS, SftConfig, TrainingError
from sft_schema.engine import fsdp_settings, zero_stage
from sft_schema.record import HealthFinding, PackedRow
from sft_train.callback.health import HealthMonitor
from sft_train.callback.interrupt import ignore_in_worker
from sft_train.checkpoint import WrittenLater
from sft_train.context import ContextBatches, ContextMesh, context_mesh
from sft_train.distributed import engine_of
from sft_train.health import finding
from sft_train.loss import forward_call, padded_nll, summed_loss, total_weight
from sft_train.model import weights_of
from sft_train.optim import build_optimizer, build_schedule
from sft_train.optim.schedule import Run
from sft_train.plugin import changed_loss, chosen_optimizer
from sft_train.trainer.flow import Flow
from sft_train.trainer.held_out import HeldOutLoss, held_out_loss
from sft_train.trainer.noise import EmbeddingNoise
from sft_train.trainer.not_finite import TOGETHER, StepInHand
from sft_train.trainer.offload import OffloadedActivations
from sft_train.trainer.pictured import PicturedBatches, saved_with_model
from sft_train.trainer.rows import EpochRows, StoredRows, held_out_batches, to_tensors
from sft_train.trainer.shared_out import SharedOutTrainer
from sft_train.trainer.sources import SourceLosses
from sft_train.trainer.speed import peak_memory, speed_of
from sft_train.trainer.throughput import Throughput, tokens_of

ToBatch = Callable[[Sequence[PackedRow]], dict[str, Any]]


class SftTrainer(SharedOutTrainer):
    """Trains on the rows of a preparation.

    What it changes: which rows make a batch (`get_train_dataloader`), the loss (`compute_loss`, over the weight of
    the trained tokens that `get_batch_samples` adds up), and `evaluate`. Everything else is the Trainer's.

    Args:
        model: bare or with an adapter.
        args: see `training_arguments`.
        cfg: the whole config.
        prepared: the data.
        tokenizer: saved with every checkpoint, inside the processor where there is one.
        callbacks: besides the Trainer's own.

    Attributes:
        mesh: which rows it reads, and which part of them.
        rows: what this process trains on.
        summed_loss: the loss of a batch.
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
        self._cfg, self._prepared, self.engine = cfg, prepared, engine_of(cfg)
        fsdp = fsdp_settings(cfg)
        self.in_shards = fsdp is not None and fsdp.state_dict_type == "SHARDED_STATE_DICT"
        self.mesh = context_mesh(cfg, args)
        self.rows = _rows(cfg, prepared, self.mesh)
        in_16_bits = args.device.type == "cuda" and (args.bf16 or args.fp16)
        gpu = torch.cuda.get_device_name(args.device) if in_16_bits else None
        speed = speed_of(model, gpu, args.world_size)
        self.throughput = Throughput(cfg.sequence_len if cfg.sample_packing else None, speed)
        self.call = replace(forward_call(model, cfg.attn_implementation), context=self.mesh.way())
        self._evaluated: tuple[int, float] | None = None
        self._in_hand: StepInHand | None = None
        self._weights = sum(weights_of(each) for each in model.parameters())
        held_out = prepared.eval
        pictured = prepared.processor is not None
        several = not pictured and len(cfg.datasets) > 1
        self._sources = SourceLosses(prepared.train) if several else None
        joined = to_tensors if self._sources is None else self._sources.to_tensors
        flow = Flow(cfg, self.rows.steps(cfg.gradient_accumulation_steps), evaluates=held_out is not None)
        super().__init__(
            model,
            args,
            train_dataset=StoredRows(prepared.train, len(self.rows.plan)),
            eval_dataset=None if held_out is None else StoredRows(held_out, len(held_out)),
            data_collator=PicturedBatches(prepared, "train") if pictured else self._part(joined),
            processing_class=saved_with_model(prepared, tokenizer),
            callbacks=[flow, *callbacks, _EpochStart(self.rows), _StepEnd(self.throughput)],
        )
        self.model_accepts_loss_kwargs, self.keep = True, cfg.save_total_limit
        self.later = WrittenLater() if cfg.save_async else None
        note = None if self._sources is None else self._sources.note
        # An engine moves the model to its device later, and ZeRO 3 has no weights that could be tried here.
        unseen = self.engine is not None and (zero_stage(cfg) == 3 or not BACKENDS[cfg.attn_implementation].on_cpu)
        plain = summed_loss(self.model, cfg, self.call, compiled=cfg.torch_compile or unseen, note=note)
        self.summed_loss = changed_loss(callbacks, partial(padded_nll, call=self.call) if pictured else plain)
        self._held_out_batch = PicturedBatches(prepared, "eval") if pictured and held_out else self._part(to_tensors)
        self._noise = EmbeddingNoise(self.model, cfg.neftune_noise_alpha) if cfg.neftune_noise_alpha else None
        self._keeping = OffloadedActivations(self.model).keeping if cfg.activation_offloading else nullcontext
        if cfg.gradient_checkpointing_kwargs.use_reentrant and cfg.adapter is not None:
            # Re-entering needs a gradient to flow into each layer, and a frozen embedding gives none.
            self.model.enable_input_require_grads()
        for unwanted in (PrinterCallback, DefaultFlowCallback):
            self.remove_callback(unwanted)

    def _part(self, whole: ToBatch) -> ToBatch:
        """What makes this process's part of a batch out of rows."""
        return whole if self.mesh.group is None else ContextBatches(whole, self.mesh)

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """The config's optimizer; see `sft_train.optim`."""
        if self.optimizer is None:
            trained = self.model if model is None else model
            decayed = self.get_decay_parameter_names(trained)
            own = chosen_optimizer(self.callback_handler.callbacks, trained, decayed)
            self.optimizer = own or build_optimizer(trained, self._cfg, decayed)
            self.trained = [[*group["params"]] for group in self.optimizer.param_groups]
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        """The config's schedule over a number of steps."""
        if self.lr_scheduler is None:
            warmup = self.args.get_warmup_steps(num_training_steps)
            run = Run(self._cfg, self._cfg.learning_rate, warmup, num_training_steps)
            self.lr_scheduler = build_schedule(optimizer or self.optimizer, run)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Micro batches of this process. Not sharded again by accelerate: `EpochRows` knows the process."""
        return DataLoader(
            self.train_dataset,
            batch_sampler=self.rows,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
            pin_memory=self.args.dataloader_pin_memory,
            worker_init_fn=ignore_in_worker,
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator[Mapping[str, Any]], num_batches: int, device: torch.device
    ) -> tuple[list[Mapping[str, Any]], Tensor]:
        """The micro batches of one optimizer step, and what the trained tokens in them count together.

        That is a sum over all processes, float32 `[]`: the number of trained tokens where the data give no weights.
        """
        if self.later is not None and self.args.world_size == 1:  # several processes hear of it at the next save
            self.later.check()
        self.throughput.begin_step()
        if self.state.global_step >= self.state.max_steps or self.control.should_training_stop:
            # Resumed where the run had ended already; the Trainer would do one step too many.
            self.control.should_training_stop = True
            return [], torch.zeros(())
        batches = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        tokens = sum(map(tokens_of, batches))
        trained = sum(batch["targets"].numel() for batch in batches)
        weight = sum(map(total_weight, batches))
        # float64 counts without error, and adds up weights to the same float32 in whatever order they come
        rows = self.rows.of_step(self.state.global_step, self.args.gradient_accumulation_steps, len(batches))
        # processes that share rows count each of them once
        filled = 0 if self.mesh.rank else sum(len(row) > 0 for batch in rows for row in batch)
        counts = torch.tensor([tokens, trained, weight, filled], device=device, dtype=torch.float64)
        if self.args.world_size > 1:
            counts = self.accelerator.reduce(counts, "sum")
            tokens, trained, _, filled = counts.tolist()
        self.throughput.add(int(tokens), int(trained), int(filled))
        # A step of nothing but pieces of a prompt has a loss of 0, not 0 / 0.
        weight = torch.where(counts[2] > 0, counts[2], 1.0).float()
        self._in_hand = StepInHand(batches, rows, weight)
        return batches, weight

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
            num_items_in_batch: weight of the trained tokens of the whole step on all processes, float32 `[]`.
        """
        with self._noise.over(inputs["cu_seqlens"]) if self._noise else nullcontext(), self._keeping():
            nll = self.summed_loss(model, inputs)
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
        loss = self._known_loss(step)
        if loss is None:
            found = self._held_out()
            loss = found.loss
            self.log(found.metrics(metric_key_prefix))
        self._evaluated = (step, loss)
        metrics = {f"{metric_key_prefix}_loss": loss}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _known_loss(self, step: int) -> float | None:
        """The held-out loss of these weights, where it was measured already: in this process or before a resume."""
        if self._evaluated is not None:
            return self._evaluated[1] if self._evaluated[0] == step else None
        logged = [line["eval_loss"] for line in self.state.log_history if line["step"] == step and "eval_loss" in line]
        return logged[-1] if logged else None

    def held_out_loss(self) -> float:
        """The same without logging it."""
        return self._held_out().loss

    def _held_out(self) -> HeldOutLoss:
        """Over all data sets together and, where there are several, each."""
        self.use_weights_for_answers()
        store = self._prepared.eval
        assert store is not None, "without held-out rows there is nothing to evaluate"
        names, numbers = store.sources()
        sources = {name: self._held_out_batches(store, np.flatnonzero(numbers == at)) for at, name in enumerate(names)}
        try:
            shared = self.mesh.group is not None
            model = self.model_wrapped if self.engine == "deepspeed" else self.model
            return held_out_loss(model, sources, self.summed_loss, self.accelerator, shared=shared)
        except TrainingError as error:
            step = self.state.global_step
            self._note_end(HealthFinding(code="not_finite", step=step, sentence=error.message, advice=error.fix))
            raise

    def _held_out_batches(self, store: SampleStore, samples: NDArray[np.int64]) -> Iterator[Mapping[str, Any]]:
        """This process's share of some of the held-out samples."""
        shares = held_out_batches(
            store.lengths[samples],
            self._cfg,
            rows=self._cfg.eval_batch_size,
            process=self.mesh.data,
            processes=self.mesh.data_processes,
        )
        rows = StoredRows(store, len(store))
        for share in shares:
            yield self._prepare_inputs(self._held_out_batch([rows[samples[each]] for each in share]))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds speed, memory and the loss of each data set to what is logged of training.

        The Trainer's closing totals are left out.

        Raises:
            TrainingError: the loss is not a number.
        """
        if "train_runtime" in logs:
            return
        if "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise self._not_finite("loss", logs["loss"], self.state.global_step)
            logs = logs | self.throughput.rates() | peak_memory(self.args.device)
            if self._sources is not None:
                logs |= self._sources.losses(self.accelerator)
        super().log(logs, start_time)

    def _load_best_model(self) -> None:
        """With these weights the last evaluation holds no longer."""
        super()._load_best_model()
        self._evaluated = (-1, math.nan)

    def floating_point_ops(self, inputs: Mapping[str, Any]) -> int:
        """6 per weight and token, with the weights counted once and not at every step."""
        return 6 * inputs["input_ids"].numel() * self._weights

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """Stops before the optimizer would spread a gradient that is not a number over all weights.

        In float16 a gradient that overflows is expected now and then: the scaler skips that step and halves its
        factor. It is an error when there is nothing left to halve.
        """
        norm = super()._get_grad_norm(model, grad_norm)
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None and scaler.is_enabled() and scaler.get_scale() > 1:
            return norm
        if not math.isfinite(float(norm)):
            raise self._not_finite("norm of the gradient", float(norm), self.state.global_step + 1)
        return norm

    def _not_finite(self, what: str, value: float, step: int) -> TrainingError:
        """The error that names batch, rows and layer; with weights or rows shared by processes only the step."""
        cause = ""
        together = self.mesh.group is not None or self.accelerator.distributed_type in TOGETHER
        if self._in_hand is not None and not together:
            cause = self._in_hand.cause(self.model, self._loss_again, self.train_dataset.store)
        found = finding("not_finite", step, what=what, value=value, cause=cause)
        self._note_end(found)
        return TrainingError(found.sentence, fix=found.advice)

    def _note_end(self, found: HealthFinding) -> None:
        """Has what ends the run kept in metrics.jsonl, by the one process that writes it."""
        for each in self.callback_handler.callbacks:
            if isinstance(each, HealthMonitor):
                each.stopped(found)

    def _loss_again(self, batch: Mapping[str, Any], weight: Tensor) -> Tensor:
        """The loss of a micro batch of the step in hand."""
        inputs = self._prepare_inputs(dict(batch))
        with self.compute_loss_context_manager():
            return self.compute_loss(self.model, inputs, num_items_in_batch=weight)


def _rows(cfg: SftConfig, prepared: Prepared, mesh: ContextMesh) -> EpochRows:
    rows = EpochRows(
        prepared.train.lengths,
        cfg,
        micro_batch_size=cfg.micro_batch_size,
        process=mesh.data,
        processes=mesh.data_processes,
        shuffle=cfg.shuffle_merged_datasets,
    )
    if cfg.packing_balance != "none":
        rows.balance(cfg.gradient_accumulation_steps)
    return rows


class _EpochStart(TrainerCallback):
    """Plans each epoch's rows. The number of the epoch comes from the steps done, so it is right after a resume."""

    def __init__(self, rows: EpochRows) -> None:
        self.rows = rows

    def on_epoch_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        self.rows.start_epoch(state.global_step // self.rows.steps(args.gradient_accumulation_steps))


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
