"""How the weights are updated: optimizer, learning rates, schedule."""

from __future__ import annotations

from sft_schema.config.section import Section, setting
from sft_schema.optim import OptimizerName, ScheduleName


class OptimizerSection(Section):
    """The optimizer, a row of the table in optimizers.md."""

    learning_rate: float = setting("Peak learning rate.", gt=0, lt=10)
    optimizer: OptimizerName = setting("Optimizer.", "adamw_torch_fused")
    optim_args: dict[str, bool | int | float | str] = setting(
        "Arguments that only this optimizer has, such as `momentum: 0.9` for sgd.", {}
    )
    weight_decay: float = setting("Weight decay; none on biases and norms.", 0.0, ge=0)
    max_grad_norm: float = setting("Gradients are scaled down to this norm; 0 turns it off.", 1.0, ge=0)
    adam_beta1: float = setting("Decay of the first moment.", 0.9, ge=0, lt=1)
    adam_beta2: float = setting("Decay of the second moment.", 0.999, ge=0, lt=1)
    adam_epsilon: float = setting("Added to the second moment's root.", 1e-8, gt=0)


class LrGroup(Section):
    """Layers with a learning rate of their own."""

    name: str = setting("What the group is called in messages.", min_length=1)
    modules: tuple[str, ...] = setting(
        "Names of layers, whole or the parts between their dots, such as `q_proj` or `layers.3`.", min_length=1
    )
    lr: float = setting("Their peak learning rate.", gt=0, lt=10)


class RateSection(Section):
    """Learning rates that differ from `learning_rate`; the schedule scales them alike."""

    lr_groups: tuple[LrGroup, ...] = setting("Layers with a learning rate of their own.", ())
    embedding_lr: float | None = setting("Learning rate of the embedding and the head.", None, gt=0, lt=10)
    embedding_lr_scale: float | None = setting("The same as a multiple of `learning_rate`.", None, gt=0)
    loraplus_lr_ratio: float | None = setting(
        "Learning rate of the adapter's B as a multiple of A's (LoRA+, Hayou et al. 2024, arXiv 2402.12354).",
        None,
        gt=0,
    )
    loraplus_lr_embedding: float = setting("Learning rate of an adapter on the embedding, with LoRA+.", 1e-6, gt=0)


class ScheduleSection(Section):
    """The learning rate over the run, a row of the table in optimizers.md."""

    lr_scheduler: ScheduleName = setting("Shape of the learning rate over the run.", "cosine")
    lr_scheduler_kwargs: dict[str, bool | int | float | str] = setting(
        "Arguments that only this schedule has, such as `num_cycles: 3` for cosine_with_restarts.", {}
    )
    warmup_steps: int = setting("Steps over which the learning rate rises from 0.", 0, ge=0)
    warmup_ratio: float = setting("The same as a fraction of the run.", 0.0, ge=0, lt=1)
    lr_quadratic_warmup: bool = setting("Rise with the square of the step.", False)
    cosine_min_lr_ratio: float = setting("The schedule ends at this part of the peak.", 0.0, ge=0, le=1)
    cosine_constant_lr_ratio: float = setting(
        "Part of the run after which the lowest rate is reached and kept; 0 is the end of the run.", 0.0, ge=0, le=1
    )
    jagged_restart_steps: int | None = setting("Every so many steps the rate falls and rises anew.", None, ge=2)
    jagged_restart_warmup_steps: int = setting("Steps of each new rise.", 10, ge=1)
    jagged_restart_anneal_steps: int = setting("Steps of each fall.", 1, ge=1)
