"""Which callbacks a run has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainingArguments

from sft_schema import SftConfig
from sft_train.callback.checkpoint import CheckpointRecord
from sft_train.callback.garbage import GarbageCollection
from sft_train.callback.health import HealthMonitor
from sft_train.callback.metrics import MetricsFile
from sft_train.callback.observe import ObserverBridge
from sft_train.callback.profile import StepProfiler
from sft_train.callback.stop import stopping
from sft_train.checkpoint import Checkpoint
from sft_train.observer import Observer
from sft_train.optional import tensorboard_callback


def run_callbacks(
    cfg: SftConfig,
    observer: Observer,
    identity: dict[str, Any],
    checkpoint: Checkpoint | None,
    args: TrainingArguments,
    reports: Sequence[TrainerCallback] = (),
) -> list[TrainerCallback]:
    """The callbacks of this process. Only the first one writes metrics; all of them save checkpoints.

    Args:
        cfg: output folder, and whether TensorBoard is wanted.
        observer: of this process.
        identity: kept with every checkpoint.
        checkpoint: the one that the run goes on from.
        args: which process this is.
        reports: of services that show runs.
    """
    resumed_step = None if checkpoint is None else checkpoint.step
    record = CheckpointRecord(identity, args.world_size, resumed_step, model_only=cfg.save_only_model)
    out = Path(cfg.output_dir)
    others = stopping(cfg, observer)
    if cfg.gc_collect_steps is not None:
        others.insert(0, GarbageCollection(cfg.gc_collect_steps))
    if cfg.profiler_steps is not None:
        others.append(StepProfiler(out, cfg.profiler_steps, cfg.profiler_steps_start, args.process_index))
    if args.process_index > 0:
        return [record, *others]
    metrics = MetricsFile(out / "metrics.jsonl", resumed_step, checkpoint and checkpoint.logged)
    board = [tensorboard_callback(out / "runs")] if cfg.use_tensorboard else []
    health = HealthMonitor(cfg, observer, metrics)
    return [record, metrics, *board, *reports, ObserverBridge(observer), health, *others]
