"""Batches and number formats."""

from __future__ import annotations

from typing import Literal

from sft_schema.config.section import Section, setting


class BatchSection(Section):
    """How many rows make one optimizer step and how many steps make a run."""

    micro_batch_size: int = setting("Rows of one forward pass on one device.", 1, ge=1)
    gradient_accumulation_steps: int = setting("Forward passes of one optimizer step.", 1, ge=1)
    batch_size: int | None = setting(
        "Rows of one optimizer step on one device, in place of `gradient_accumulation_steps`.", None, ge=1
    )
    eval_batch_size: int = setting("Rows of one forward pass in evaluation.", 1, ge=1)
    num_epochs: float = setting("Times the data is gone through.", 1.0, gt=0)
    max_steps: int | None = setting("Optimizer steps after which training ends, whatever the epoch.", None, ge=1)


def accumulation_steps(cfg: BatchSection) -> int:
    """Forward passes of one optimizer step, as `gradient_accumulation_steps` or `batch_size` says."""
    return cfg.gradient_accumulation_steps if cfg.batch_size is None else cfg.batch_size // cfg.micro_batch_size


class PrecisionSection(Section):
    """Number formats."""

    bf16: Literal["auto"] | bool = setting("Compute in bfloat16; auto does so where the GPU can.", "auto")
    fp16: bool = setting("Compute in float16 with loss scaling; CUDA only.", False)
    dtype: Literal["auto", "float32", "bfloat16"] = setting(
        "What weights are held in: `auto` is float32 for those that are trained, and what the run computes in for the "
        "frozen ones under an adapter; `bfloat16` is for all but an adapter's, which loses small updates.",
        "auto",
    )
    tf32: Literal["auto"] | bool = setting(
        "Allow GPUs to shorten float32 factors to TensorFloat-32; auto and true do so where the GPU can.", False
    )
