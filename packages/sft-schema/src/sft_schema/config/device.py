"""How processes work together, how batches reach the device, and how its time and memory are looked at."""

from __future__ import annotations

from typing import Literal

from sft_schema.config.section import Section, setting


class DeviceSection(Section):
    """Processes, batches on their way to the device, and the profiler."""

    ddp_timeout: int = setting(
        "Seconds that processes wait for one another; the first one prepares the data for all.", 86400, ge=1
    )
    ddp_find_unused_parameters: bool = setting(
        "Look in each step for weights without a gradient, which several processes would wait for; it costs time.",
        False,
    )
    ddp_bucket_cap_mb: int | None = setting("Megabytes of gradients that processes exchange at once.", None, ge=1)
    ddp_broadcast_buffers: bool | None = setting(
        "Send the first process's buffers, such as running means, to the others in each step.", None
    )
    context_parallel_size: int = setting(
        "Processes that share each row, every one with a part of its tokens; the number of processes is a multiple.",
        1,
        ge=1,
    )
    context_parallel_method: Literal["ring", "ulysses"] = setting(
        "How they attend to one another's tokens: keys and values go round, or tokens are exchanged for heads, whose "
        "number they must divide.",
        "ring",
    )
    dataloader_num_workers: int = setting("Processes that put batches together ahead of time; 0 uses none.", 0, ge=0)
    dataloader_prefetch_factor: int | None = setting("Batches that each of them keeps ready.", None, ge=1)
    dataloader_pin_memory: bool = setting("Keep batches in page-locked memory on their way to a GPU.", True)
    profiler_steps: int | None = setting(
        "Steps to profile: a Chrome trace, and on a GPU the history of its memory, in `output_dir`.", None, ge=1
    )
    profiler_steps_start: int = setting("Steps to do before the profiler begins.", 0, ge=0)
