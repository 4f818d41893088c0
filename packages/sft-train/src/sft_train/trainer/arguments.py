"""Config sections to the Hugging Face Trainer's arguments.

The YAML keeps the field's long-standing names; this is the one place that knows what transformers 5.17 to
5.23 call them.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import Any

from transformers import TrainingArguments

from sft_schema import SftConfig, TrainingError
from sft_schema.config import BatchSection, OptimizerSection, PrecisionSection
from sft_schema.config.run import Strategy
from sft_train.compute import Compute

_PREPARING = timedelta(hours=24)
"""How long processes wait for the first one, which prepares the data for all."""

_CHECKPOINTING_NAMES = ("activation_checkpointing", "gradient_checkpointing")
"""New name first: 5.23 has both, the second deprecated; 5.17 has the second alone."""


def training_arguments(cfg: SftConfig, compute: Compute) -> TrainingArguments:
    """The Trainer's arguments for a config. Joins the process group when there is one.

    Raises:
        TrainingError: several GPUs are visible to a single process.
    """
    args = TrainingArguments(
        output_dir=cfg.output_dir,
        seed=cfg.seed,
        use_cpu=compute.use_cpu,
        bf16=compute.bf16,
        **_batches(cfg),
        **_optimizer(cfg),
        **_checkpointing(cfg),
        **_when("save", cfg.save_strategy, cfg.save_steps),
        **_when("eval", cfg.eval_strategy, cfg.eval_steps),
        save_total_limit=cfg.save_total_limit,
        logging_steps=cfg.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # it would hide a loss that is not a number behind an average
        report_to="none",  # metrics.jsonl and TensorBoard are callbacks of our own
        disable_tqdm=True,
        remove_unused_columns=False,  # batches are made by our own collator
        average_tokens_across_devices=True,
        ddp_find_unused_parameters=False,
        ddp_timeout=int(_PREPARING.total_seconds()),
    )
    check_one_gpu(args.n_gpu)
    return args


def check_one_gpu(visible: int) -> None:
    """Refuses to spread one process over several GPUs, as the Trainer would.

    It would do so with torch's DataParallel, which cuts batches into equal parts: a packed row has none.

    Raises:
        TrainingError: `visible` is over one.
    """
    if visible <= 1:
        return
    message = f"one process sees {visible} GPUs, and a packed batch cannot be cut into {visible} parts"
    fix = f"start `torchrun --nproc-per-node {visible} ...` to use them all, or set CUDA_VISIBLE_DEVICES=0 for one"
    raise TrainingError(message, fix=fix)


def _batches(cfg: BatchSection) -> dict[str, Any]:
    return {
        "per_device_train_batch_size": cfg.micro_batch_size,
        "per_device_eval_batch_size": cfg.eval_batch_size,
        "gradient_accumulation_steps": cfg.gradient_accumulation_steps,
        "num_train_epochs": cfg.num_epochs,
        "max_steps": cfg.max_steps or -1,
    }


def _optimizer(cfg: OptimizerSection) -> dict[str, Any]:
    return {
        "learning_rate": cfg.learning_rate,
        "optim": cfg.optimizer,
        "lr_scheduler_type": cfg.lr_scheduler,
        "warmup_steps": cfg.warmup_steps or cfg.warmup_ratio,  # below 1 it is a fraction of the run
        "weight_decay": cfg.weight_decay,
        "max_grad_norm": cfg.max_grad_norm,
        "adam_beta1": cfg.adam_beta1,
        "adam_beta2": cfg.adam_beta2,
        "adam_epsilon": cfg.adam_epsilon,
    }


def _checkpointing(cfg: PrecisionSection) -> dict[str, Any]:
    known = {field.name for field in fields(TrainingArguments)}
    name = next(name for name in _CHECKPOINTING_NAMES if name in known)
    if not cfg.gradient_checkpointing:
        return {}
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}


def _when(what: str, strategy: Strategy, steps: int | None) -> dict[str, Any]:
    return {f"{what}_strategy": strategy} | ({f"{what}_steps": steps} if steps is not None else {})
