"""Which callbacks a run has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainingArguments

from sft_schema import SftConfig
from sft_train.callback.checkpoint import CheckpointRecord
from sft_train.callback.metrics import MetricsFile
from sft_train.callback.observe import ObserverBridge
from sft_train.checkpoint import Checkpoint
from sft_train.observer import Observer
from sft_train.optional import tensorboard_callback


def run_callbacks(
    cfg: SftConfig,
    observer: Observer,
    identity: dict[str, Any],
    checkpoint: Checkpoint | None,
    args: TrainingArguments,
) -> list[TrainerCallback]:
    """The callbacks of this process. Only the first one writes metrics; all of them save checkpoints.

    Args:
        cfg: output folder, and whether TensorBoard is wanted.
        observer: of this process.
        identity: kept with every checkpoint.
        checkpoint: the one that the run goes on from.
        args: which process this is.
    """
    resumed_step = None if checkpoint is None else checkpoint.step
    record = CheckpointRecord(identity, args.world_size, resumed_step)
    if args.process_index > 0:
        return [record]
    out = Path(cfg.output_dir)
    metrics = MetricsFile(out / "metrics.jsonl", resumed_step)
    board = [tensorboard_callback(out / "runs")] if cfg.use_tensorboard else []
    return [record, metrics, *board, ObserverBridge(observer)]
