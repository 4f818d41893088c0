"""How the weights are updated: batches, optimizer, precision."""

from __future__ import annotations

from typing import Literal

from sft_schema.config.section import Section, setting


class BatchSection(Section):
    """How many rows make one optimizer step and how many steps make a run."""

    micro_batch_size: int = setting("Rows of one forward pass on one device.", 1, ge=1)
    gradient_accumulation_steps: int = setting("Forward passes of one optimizer step.", 1, ge=1)
    eval_batch_size: int = setting("Rows of one forward pass in evaluation.", 1, ge=1)
    num_epochs: float = setting("Times the data is gone through.", 1.0, gt=0)
    max_steps: int | None = setting("Optimizer steps after which training ends, whatever the epoch.", None, ge=1)


class OptimizerSection(Section):
    """Optimizer and learning-rate schedule."""

    learning_rate: float = setting("Peak learning rate.", gt=0, lt=10)
    optimizer: Literal["adamw_torch_fused", "adamw_torch", "adafactor", "sgd"] = setting(
        "Optimizer.", "adamw_torch_fused"
    )
    lr_scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup"] = setting(
        "Shape of the learning rate over the run.", "cosine"
    )
    warmup_steps: int = setting("Steps over which the learning rate rises from 0.", 0, ge=0)
    warmup_ratio: float = setting("The same as a fraction of the run.", 0.0, ge=0, lt=1)
    weight_decay: float = setting("Decoupled weight decay; none on biases and norms.", 0.0, ge=0)
    max_grad_norm: float = setting("Gradients are scaled down to this norm; 0 turns it off.", 1.0, ge=0)
    adam_beta1: float = setting("Decay of the first moment.", 0.9, ge=0, lt=1)
    adam_beta2: float = setting("Decay of the second moment.", 0.999, ge=0, lt=1)
    adam_epsilon: float = setting("Added to the second moment's root.", 1e-8, gt=0)


class PrecisionSection(Section):
    """Number formats and memory."""

    bf16: Literal["auto"] | bool = setting(
        "Compute in bfloat16 over float32 weights; auto does so where the GPU can.", "auto"
    )
    gradient_checkpointing: bool = setting("Recompute activations in the backward pass.", False)
