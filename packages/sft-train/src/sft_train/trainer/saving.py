"""The part of our Trainer that writes checkpoints and the result, and brings back what a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, set_seed
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import SaveStrategy

from sft_schema import TrainingError
from sft_train.checkpoint import STATE, keep_newest, move_into, put_in_place, write_model, written_whole
from sft_train.distributed import (
    Engine,
    FsdpState,
    SharedState,
    Trained,
    ZeroState,
    fill_zero,
    is_in_shards,
    load_sharded_optimizer,
    load_sharded_weights,
    load_weights,
    save_shards,
)


class SavingTrainer(Trainer):
    """A Trainer whose checkpoints and result are there whole or not at all.

    Attributes:
        keep: checkpoints that stay besides the best one. The Trainer's own `save_total_limit` is left unset: at the
            end of a run it would delete the newest one to keep the best alone.
        engine: what shares the model out; None when each process has a whole copy.
        trained: the weights of each group of the optimizer.
        in_shards: each process writes its part of a checkpoint; the result is one model in any case.
    """

    keep: int
    engine: Engine | None
    trained: Trained
    in_shards: bool

    def use_weights_for_answers(self) -> None:
        """Puts the weights that are to be evaluated and saved into the model, until the next training step.

        A schedule-free optimizer trains at one point and answers from another, the average of where it has been;
        all others train the weights that answer.
        """
        settle = getattr(self.optimizer, "eval", None)
        if settle is not None:
            settle()

    def save_result(self) -> None:
        """Saves the model to `output_dir`, as the checkpoints are saved. Every process calls it.

        Raises:
            TrainingError: it cannot be written.
        """
        with written_whole(Path(self.args.output_dir) / "model", _move_up) as folder:
            self.save_model(str(folder), _internal_call=True)

    def best_step(self) -> int | None:
        """Step whose weights the model has after training with `load_best_model_at_end`; None without.

        Raises:
            TrainingError: its checkpoint is gone, and these are the last weights.
        """
        if not self.args.load_best_model_at_end:
            return None
        if self.state.best_model_checkpoint is None:
            message = f"the checkpoint of the best step, {self.state.best_global_step}, is gone"
            fix = "put it back and resume, or set `load_best_model_at_end: false` for the last weights"
            raise TrainingError(message, fix=fix)
        return self.state.best_global_step

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Leaves out evaluations that no checkpoint follows: their weights cannot be brought back."""
        kept = self.control.should_save or self.args.save_strategy == SaveStrategy.BEST
        return kept and super()._determine_best_metric(metrics, trial)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Saves the weights that answer; the optimizer's state leads back to those that train.

        Raises:
            TrainingError: it cannot be written. The checkpoints of before stay.
        """
        self.use_weights_for_answers()
        self.store_flos()
        output_dir = Path(self.args.output_dir)
        folder = output_dir / f"checkpoint-{self.state.global_step}"
        with written_whole(folder, put_in_place) as unfinished:
            if self.in_shards:
                self._save_without_weights(unfinished)
                save_shards(self.model, self.optimizer, unfinished, first=self.args.should_save)
            else:
                self.save_model(str(unfinished), _internal_call=True)
            if not self.args.save_only_model:
                self._save_optimizer_and_scheduler(str(unfinished))
                self._save_scaler(str(unfinished))
                self._save_rng_state(str(unfinished))
            self._note_best(output_dir)
            if self.args.should_save:
                self._save_state(unfinished / STATE)
        if self.args.should_save:
            best = self.state.best_model_checkpoint
            keep_newest(output_dir, self.keep, folder, Path(best) if best else None)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Writes one whole model, also where each process holds a part. Every process calls it."""
        if self.engine is None:
            super().save_model(output_dir, _internal_call)
        else:
            self._save(output_dir, state_dict=self._shared().weights(keep=self.args.should_save))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Writes the optimizer's state as that of one process, so that any number of them can go on from it."""
        if self.engine is None:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        if not self.in_shards:
            state = self._shared().optimizer(keep=self.args.should_save)
            if self.args.should_save:
                torch.save(state, Path(output_dir) / "optimizer.pt")
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / "scheduler.pt")

    def _prepare_for_training(self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: Any) -> Any:
        """Wraps the model; an engine then gets its shards of a checkpoint from us."""
        if self.engine is None or resume_from_checkpoint is None:
            return super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        folder = Path(resume_from_checkpoint)
        if self.engine == "deepspeed":
            load_weights(self.model, folder, fill_zero)
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
        self._shared().load(folder)
        self.lr_scheduler.load_state_dict(torch.load(folder / "scheduler.pt", weights_only=True))
        return prepared

    def _save_without_weights(self, folder: Path) -> None:
        """Writes configs and tokenizer beside the shards."""
        if self.args.should_save:
            bare: Any = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
            bare.config.save_pretrained(folder)
            for config in getattr(self.model, "peft_config", {}).values():
                config.save_pretrained(folder)
            self.processing_class.save_pretrained(folder)  # pyright: ignore[reportOptionalMemberAccess]

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Also takes shards into a whole model."""
        if is_in_shards(Path(resume_from_checkpoint)):
            load_sharded_weights(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Also takes shards into a whole optimizer."""
        if checkpoint is None or not is_in_shards(Path(checkpoint)):
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        load_sharded_optimizer(self.optimizer, Path(checkpoint))
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / "scheduler.pt", weights_only=True))

    def _shared(self) -> SharedState:
        if self.engine == "fsdp":
            return FsdpState(self.model, self.optimizer)
        return ZeroState(self.model_wrapped, self.trained)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Writes the model and what is needed to use it. Not the Trainer's arguments: they would be a pickle."""
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            write_model(self.model, self.processing_class, folder, state_dict)  # pyright: ignore[reportArgumentType]

    def _note_best(self, output_dir: Path) -> None:
        """The best checkpoint is an earlier one that is still there, or the one being written."""
        step = self.state.best_global_step
        if step:
            best = output_dir / f"checkpoint-{step}"
            if step == self.state.global_step or best.is_dir():
                self.state.best_model_checkpoint = str(best)

    def _save_state(self, file: Path) -> None:
        for each in (*self.callback_handler.callbacks, self.control):
            if isinstance(each, ExportableState):
                self.state.stateful_callbacks[type(each).__name__] = each.state()
        self.state.save_to_json(str(file))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Restores this process's random state, or draws another when the number of processes has changed.

        The Trainer would keep whatever state loading the model has left, the same after every resume.
        """
        saved = 0 if checkpoint is None else len([*Path(checkpoint).glob("rng_state*.pth")])
        if saved in (0, self.args.world_size):
            super()._load_rng_state(checkpoint)
        else:
            set_seed((self.args.seed + 1_000_003 * self.state.global_step + self.args.process_index) % 2**32)

    def _load_best_model(self) -> None:
        """The optimizer must not lead these weights on to its own point later."""
        self.use_weights_for_answers()
        super()._load_best_model()


def _move_up(written: Path, folder: Path) -> None:
    move_into(written, folder.parent)
