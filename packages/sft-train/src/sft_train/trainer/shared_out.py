"""The part of our Trainer that saves and brings back a model which an engine has shared out over processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

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
from sft_train.trainer.saving import SavingTrainer


class SharedOutTrainer(SavingTrainer):
    """A Trainer whose checkpoints are those of one process, or one part from each, whichever engine runs it.

    Attributes:
        engine: what shares the model out; None when each process has a whole copy.
        trained: the weights of each group of the optimizer.
        in_shards: each process writes its part of a checkpoint; the result is one model in any case.
    """

    engine: Engine | None
    trained: Trained
    in_shards: bool

    def _save_weights(self, folder: Path) -> None:
        if self.in_shards:
            self._save_without_weights(folder)
            save_shards(self.model, self.optimizer, folder, first=self.args.should_save)
        else:
            super()._save_weights(folder)

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
