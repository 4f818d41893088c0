"""Config sections to the Hugging Face Trainer's arguments.

The YAML keeps the field's long-standing names; this is the one place that knows what transformers 5.17 to
5.23 call them.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import Any

from accelerate import PartialState
from accelerate.state import AcceleratorState
from transformers import TrainingArguments

from sft_schema import SftConfig, TrainingError
from sft_schema.config import BatchSection, MemorySection, accumulation_steps
from sft_schema.engine import fsdp_settings
from sft_train.compute import Compute
from sft_train.context import check_context_size
from sft_train.distributed import engine_arguments, settle_engine
from sft_train.optional import prepare_deepspeed
from sft_train.trainer.pictured import check_processes

_CHECKPOINTING_NAMES = ("activation_checkpointing", "gradient_checkpointing")
"""New name first: 5.23 has both, the second deprecated; 5.17 has the second alone."""


def training_arguments(cfg: SftConfig, compute: Compute) -> TrainingArguments:
    """The Trainer's arguments for a config. Joins the process group when there is one.

    Raises:
        TrainingError: several GPUs are visible to a single process.
        ConfigError: see `check_processes` and `check_context_size`.
    """
    if compute.use_cpu:
        _join_on_cpu(cfg)
    args = TrainingArguments(
        output_dir=cfg.output_dir,
        seed=cfg.seed,
        use_cpu=compute.use_cpu,
        bf16=compute.bf16,
        fp16=compute.fp16,
        **_compiler(cfg),
        torch_empty_cache_steps=cfg.torch_empty_cache_steps,
        **_batches(cfg),
        **_optimizer(cfg),
        **_checkpointing(cfg),
        **_moments(cfg),
        **engine_arguments(cfg),
        save_only_model=cfg.save_only_model,
        metric_for_best_model=cfg.metric_for_best_model,
        greater_is_better=bool(cfg.greater_is_better),
        logging_steps=cfg.logging_steps,
        logging_nan_inf_filter=False,  # it would hide a loss that is not a number behind an average
        report_to="none",  # metrics.jsonl and TensorBoard are callbacks of our own
        disable_tqdm=True,
        remove_unused_columns=False,  # batches are made by our own collator
        average_tokens_across_devices=True,
        ddp_timeout=cfg.ddp_timeout,
        ddp_find_unused_parameters=cfg.ddp_find_unused_parameters,
        ddp_bucket_cap_mb=cfg.ddp_bucket_cap_mb,
        ddp_broadcast_buffers=cfg.ddp_broadcast_buffers,
        dataloader_num_workers=cfg.dataloader_num_workers,
        dataloader_prefetch_factor=cfg.dataloader_prefetch_factor,
        dataloader_pin_memory=cfg.dataloader_pin_memory and not compute.use_cpu,
    )
    # Not handed to the constructor: what it asks of the moments of saving is less than our own rule does.
    args.load_best_model_at_end = cfg.load_best_model_at_end
    check_one_gpu(args.n_gpu)
    check_processes(cfg, args.world_size)
    check_context_size(cfg, args.world_size)
    settle_engine(args, cfg, compute)
    return args


def _join_on_cpu(cfg: SftConfig) -> None:
    """Joins the process group, if there is one, with our timeout: on a CPU the Trainer's arguments lose theirs."""
    AcceleratorState._reset_state(reset_partial_state=True)  # pyright: ignore[reportPrivateUsage]
    PartialState(cpu=True, timeout=timedelta(seconds=cfg.ddp_timeout))
    if cfg.deepspeed is not None:
        prepare_deepspeed(on_cpu=True)


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
        "gradient_accumulation_steps": accumulation_steps(cfg),
        "num_train_epochs": cfg.num_epochs,
        "max_steps": cfg.max_steps or -1,
    }


def _optimizer(cfg: SftConfig) -> dict[str, Any]:
    """What the Trainer still has a say in; the optimizer and the schedule are built by `sft_train.optim`."""
    return {
        "learning_rate": cfg.learning_rate,
        "warmup_steps": cfg.warmup_steps or cfg.warmup_ratio,  # below 1 it is a fraction of the run
        "weight_decay": cfg.weight_decay,
        "max_grad_norm": cfg.max_grad_norm,
        "adam_beta1": cfg.adam_beta1,
        "adam_beta2": cfg.adam_beta2,
        "adam_epsilon": cfg.adam_epsilon,
    }


def _compiler(cfg: MemorySection) -> dict[str, Any]:
    if not cfg.torch_compile:
        return {}
    return {
        "torch_compile": True,
        "torch_compile_backend": cfg.torch_compile_backend,
        "torch_compile_mode": cfg.torch_compile_mode,
    }


def _checkpointing(cfg: SftConfig) -> dict[str, Any]:
    known = {field.name for field in fields(TrainingArguments)}
    name = next(name for name in _CHECKPOINTING_NAMES if name in known)
    fsdp = fsdp_settings(cfg)
    if not (cfg.gradient_checkpointing or (fsdp is not None and fsdp.activation_checkpointing)):
        return {}
    return {name: True, f"{name}_kwargs": {"use_reentrant": cfg.gradient_checkpointing_kwargs.use_reentrant}}


def _moments(cfg: SftConfig) -> dict[str, Any]:
    """When to evaluate and save. `Flow` decides that; the Trainer reads the strategies elsewhere too."""
    held_out = bool(cfg.val_set_size or cfg.test_datasets)
    steps = {"save_steps": cfg.save_steps, "eval_steps": cfg.eval_steps}
    return {
        "save_strategy": cfg.save_strategy,
        "eval_strategy": cfg.eval_strategy if held_out else "no",
        **{name: value for name, value in steps.items() if value is not None},
    }
