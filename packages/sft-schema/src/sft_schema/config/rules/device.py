"""Settings of batches and profiler that another one must turn on."""

from __future__ import annotations

from sft_schema.config.root import SftConfig
from sft_schema.config.rules.rule import Finding, Rule


def _prefetch(cfg: SftConfig) -> Finding | None:
    if cfg.dataloader_prefetch_factor is None or cfg.dataloader_num_workers:
        return None
    message = "dataloader_prefetch_factor has no effect without dataloader_num_workers"
    return Finding(("dataloader_prefetch_factor",), message, "add `dataloader_num_workers: 2`, say, or remove it")


def _profiler(cfg: SftConfig) -> Finding | None:
    if not cfg.profiler_steps_start or cfg.profiler_steps:
        return None
    message = "profiler_steps_start has no effect without profiler_steps"
    return Finding(("profiler_steps_start",), message, "add `profiler_steps: 3`, say, or remove it")


DEVICE_RULES: tuple[Rule, ...] = (
    Rule("prefetch_without_workers", ("dataloader_prefetch_factor", "dataloader_num_workers"), _prefetch),
    Rule("profiler_without_steps", ("profiler_steps_start", "profiler_steps"), _profiler),
)
