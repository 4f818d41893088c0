"""ReLoRA (Lialin et al. 2023, arXiv 2307.05695): the adapter goes into the weights now and then, and starts anew.

What is learnt is then in the base model's weights, which checkpoints of an adapter do not hold. So this plug-in writes
a whole model at the end, to `output_dir`/merged, and refuses runs that save checkpoints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from sft_schema import ConfigError, Issue
from sft_schema.config import Section
from sft_train.plugin import TrainingPlugin


class ReLoraSettings(Section):
    """Steps between restarts. `jagged_restart_steps` of the same number lets the learning rate rise anew."""

    every: int = 200


class ReLora(TrainingPlugin):
    """Merges and restarts every adapter of a linear layer, and forgets the optimizer's state of it."""

    Settings = ReLoraSettings

    def change_model(self, model: nn.Module) -> None:
        """Looks whether the run can be one of ReLoRA."""
        if self.cfg.adapter != "lora" or self.cfg.load_in_8bit or self.settings.every < 1:
            raise _refused("it restarts an adapter on weights in full", "set `adapter: lora`, and `every` to 1 or more")
        if self.cfg.save_strategy != "no" or self.cfg.resume_from_checkpoint is not False:
            raise _refused("checkpoints would hold the last adapter alone", 'set `save_strategy: "no"`')

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Restarts, when it is time and steps are left."""
        if state.global_step % self.settings.every or state.global_step >= state.max_steps:
            return
        optimizer = getattr(kwargs["optimizer"], "optimizer", kwargs["optimizer"])
        for layer in kwargs["model"].modules():
            if isinstance(layer, LoraLinear):
                _restart(layer)
                for weight in (*layer.lora_A.parameters(), *layer.lora_B.parameters()):
                    optimizer.state.pop(weight, None)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Writes the whole model; what stays in memory is the base model with all but the last adapter in it."""
        if args.process_index > 0:
            return
        model: PeftModel = kwargs["model"]
        model.merge_adapter()
        merged = {
            name.replace(".base_layer", ""): each
            for name, each in model.get_base_model().state_dict().items()
            if ".lora_" not in name
        }
        model.get_base_model().save_pretrained(Path(self.cfg.output_dir) / "merged", state_dict=merged)
        kwargs["processing_class"].save_pretrained(Path(self.cfg.output_dir) / "merged")
        model.unmerge_adapter()


@torch.no_grad()
def _restart(layer: LoraLinear) -> None:
    for name in layer.active_adapters:
        weight = layer.get_base_layer().weight
        weight += layer.get_delta_weight(name).to(weight.dtype)
        layer.reset_lora_parameters(name, True)


def _refused(message: str, fix: str) -> ConfigError:
    return ConfigError([Issue("relora", ("training_plugins", "relora"), message, fix)])
