"""The part of our Trainer that writes checkpoints and the result, and brings back what a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, set_seed
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import SaveStrategy

from sft_schema import TrainingError
from sft_train.checkpoint import (
    STATE,
    WrittenLater,
    begun,
    in_host_memory,
    keep_newest,
    move_into,
    put_in_place,
    refuse_shared_out,
    write_model,
    writer_of,
    written_whole,
)
from sft_train.trainer.not_finite import TOGETHER


class SavingTrainer(Trainer):
    """A Trainer whose checkpoints and result are there whole or not at all.

    Attributes:
        keep: checkpoints that stay besides the best one. The Trainer's own `save_total_limit` is left unset: at the
            end of a run it would delete the newest one to keep the best alone.
        later: writes checkpoints while training goes on (`save_async`); None writes them before it goes on.
    """

    keep: int
    later: WrittenLater | None = None

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Trains; the model then holds the weights that answer, and every checkpoint is on the disk.

        Raises:
            TrainingError: a checkpoint could not be written.
        """
        if self.later is None:
            outcome = super().train(*args, **kwargs)
        else:
            if self.accelerator.distributed_type in TOGETHER:
                raise refuse_shared_out(self.accelerator.distributed_type.value)
            try:
                outcome = super().train(*args, **kwargs)
                self.later.wait()
            finally:
                self.later.close()
        self.use_weights_for_answers()
        return outcome

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
        if self.later is not None:
            self._save_later(self.later, folder)
            return
        with written_whole(folder, put_in_place) as unfinished:
            self._save_weights(unfinished)
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

    def _save_weights(self, folder: Path) -> None:
        self.save_model(str(folder), _internal_call=True)

    def _save_later(self, later: WrittenLater, folder: Path) -> None:
        """The same files, with the large ones copied now and written by a thread of the first process."""
        later.wait()
        whole, saves = not self.args.save_only_model, self.args.should_save
        with begun(folder) as unfinished:
            if whole:
                self._save_scaler(str(unfinished))
                self._save_rng_state(str(unfinished))
            self._note_best(folder.parent)
            if saves:
                self._save_state(unfinished / STATE)
        if not saves:
            return
        write = writer_of(self.model, self.processing_class, self.optimizer)  # pyright: ignore[reportArgumentType]
        states = {OPTIMIZER_NAME: self.optimizer, SCHEDULER_NAME: self.lr_scheduler} if whole else {}
        copies = {name: in_host_memory(each.state_dict()) for name, each in states.items()}
        best, keep = self.state.best_model_checkpoint, self.keep

        def write_all(place: Path) -> None:
            write(place)
            for name, state in copies.items():
                torch.save(state, place / name)

        later.start(folder, write_all, lambda: keep_newest(folder.parent, keep, folder, Path(best) if best else None))

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
        if self.later is not None:
            self.later.wait()
        super()._load_best_model()


def _move_up(written: Path, folder: Path) -> None:
    move_into(written, folder.parent)
