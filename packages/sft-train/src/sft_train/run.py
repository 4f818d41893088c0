"""The whole path, one line per arrow: config -> data -> model -> training -> saved model and summary."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sft_data import Prepared, Progress, prepare
from sft_data.progress import WAITING
from sft_kernels.replace import Replacements
from sft_schema import SftConfig, StoppedEarlyError
from sft_schema.record import RunSummary
from sft_train.adapter import add_adapter, start_at_lost_part
from sft_train.callback import AtBegin, ServiceReport, StopRequest, run_callbacks, services
from sft_train.checkpoint import (
    Checkpoint,
    alone_in,
    clear_leftovers,
    decided_by_first,
    find_checkpoint,
    refuse_leftovers,
    run_identity,
)
from sft_train.compute import Compute, hold_trained_in_float32, resolve_compute, set_float32_products
from sft_train.context import check_shared_rows
from sft_train.distributed import check_sharded, joined, leave
from sft_train.evaluate import AnswerTable, Examiner, Harness, Score
from sft_train.export import read_base
from sft_train.model import (
    check_architecture,
    freeze_others,
    fuse_layers,
    load_model,
    load_tokenizer,
    quantisation,
    set_generation_defaults,
    tile_mlps,
)
from sft_train.observer import Observer, Silent
from sft_train.optional import lm_eval_harness, require_library
from sft_train.plugin import TrainingPlugin, training_plugins
from sft_train.quiet import without_progress_bars
from sft_train.report import Course, push_result, require_hub, summarise, write_config, write_outcome
from sft_train.trainer import SftTrainer, check_isolation, training_arguments


@without_progress_bars()
def run(cfg: SftConfig, observer: Observer | None = None) -> RunSummary:
    """Fine-tunes a model as a config says, and saves it to `cfg.output_dir`.

    Under `torchrun` every process calls this; the first one writes the files and talks to its observer.

    Args:
        cfg: the checked config.
        observer: hears of the run as it goes.

    Returns:
        The summary, which is also in `output_dir`/summary.json.

    Raises:
        ConfigError: the config cannot be honoured here.
        DataError: the data or the tokenizer cannot be used.
        TrainingError: the run cannot go on.
        StoppedEarlyError: SIGTERM or `max_minutes` has ended it, after a checkpoint.
    """
    refuse_leftovers(cfg)
    if cfg.use_tensorboard:
        require_library("tensorboard", "sft-train[tensorboard]", "use_tensorboard")
    if cfg.lm_eval_tasks:
        lm_eval_harness()
    set_float32_products(cfg)
    compute = resolve_compute(cfg)
    with ExitStack() as locked, joined(cfg, compute), services(cfg) as reports:
        return _run(cfg, compute, observer, reports, locked)


def _run(
    cfg: SftConfig, compute: Compute, observer: Observer | None, reports: list[ServiceReport], locked: ExitStack
) -> RunSummary:
    """See `run`."""
    began, out = time.perf_counter(), Path(cfg.output_dir)
    check_architecture(cfg, compute)
    plugins = training_plugins(cfg)
    args = training_arguments(cfg, compute)
    tell = observer if observer is not None and args.process_index == 0 else Silent()
    locked.enter_context(alone_in(out, tell.stage))
    harness = Harness(cfg, args.world_size)
    decided_by_first(lambda: require_hub(cfg))

    prepared = _prepare(cfg, tell, first=args.local_process_index == 0)
    identity = run_identity(cfg, prepared.manifest.fingerprint, args.world_size // cfg.context_parallel_size)
    checkpoint = decided_by_first(lambda: _checkpoint(cfg, identity, args.world_size, tell))

    tell.stage("loading the model")
    base, tokenizer = _loaded(cfg, compute, prepared)
    model, fused = _adapted(base, cfg, compute, plugins)

    stop = StopRequest(cfg.max_minutes, began, tell)
    callbacks = [*run_callbacks(cfg, tell, identity, checkpoint, args, reports), *plugins, stop]
    trainer = SftTrainer(model, args, cfg=cfg, prepared=prepared, tokenizer=tokenizer, callbacks=callbacks)
    tell.prepared(prepared.manifest, trainer.rows.plan)
    examiner = Examiner(trainer, cfg, prepared, tell.stage)
    trainer.add_callback(AnswerTable(examiner, cfg.eval_table_size, out, checkpoint and checkpoint.step))
    before = _checked(trainer, cfg, examiner, checkpoint, tell)

    train_seconds = _train(trainer, cfg, checkpoint, stop, tell)

    tell.stage(f"saving to {out}")
    trainer.save_result()
    if args.process_index == 0:
        write_config(cfg, out / "sft_config.yaml")

    after, tasks = examiner.score("after training"), _tasks(harness, trainer, tokenizer, tell)
    course = Course(before[0], after, began, train_seconds, checkpoint and checkpoint.folder, fused, tasks)
    summary = summarise(trainer, course, out / "metrics.jsonl", cfg.eval_table_size)
    if args.process_index == 0:
        write_outcome(cfg, prepared.manifest, summary, out)
        _publish(cfg, out, reports, tell)
    leave(cfg)
    tell.finished(summary)
    return summary


def _loaded(cfg: SftConfig, compute: Compute, prepared: Prepared) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base model and its tokenizer, each knowing of the other."""
    model = load_model(cfg, cfg.seed, compute, quantisation(cfg, compute))
    tokenizer = load_tokenizer(cfg, prepared.tokenizer, model)
    set_generation_defaults(model, tokenizer, prepared.tokenizer.stop_ids)
    return model, tokenizer


def _adapted(
    model: PreTrainedModel, cfg: SftConfig, compute: Compute, plugins: list[TrainingPlugin]
) -> tuple[PreTrainedModel | PeftModel, Replacements]:
    """The model with its adapter, as plug-ins want it, and with fused layers, and which these are."""
    freeze_others(model, cfg)
    adapted = add_adapter(model, cfg)
    if cfg.peft_init_lora_weights == "loftq":
        base = read_base(cfg.base_model, cfg.revision_of_model)
        start_at_lost_part(adapted, base.all_weights(), cfg.seed)  # pyright: ignore[reportArgumentType]
    for plugin in plugins:
        plugin.change_model(adapted)
    hold_trained_in_float32(adapted, cfg)
    fused = fuse_layers(adapted, cfg, compute)
    tile_mlps(adapted, cfg)
    return adapted, fused


def _checked(
    trainer: SftTrainer, cfg: SftConfig, examiner: Examiner, checkpoint: Checkpoint | None, tell: Observer
) -> list[Score]:
    """Checks the model and measures it before training. The score is in the list when training has begun.

    What an engine shares out can only be run once training has wrapped it, and a resumed run has other weights then.
    """
    found: list[Score] = []

    def look(model: nn.Module) -> None:
        shards = check_sharded(trainer.model_wrapped, cfg, trainer.args.world_size)
        if shards is not None:
            tell.stage(shards)
        check_isolation(model, cfg, trainer.call)
        check_shared_rows(model, cfg, trainer.call, trainer.mesh)
        found.append(Score() if shards and checkpoint else examiner.score("before training", log=checkpoint is None))

    if trainer.engine is None:
        look(trainer.model)
    else:
        trainer.add_callback(AtBegin(look))
    return found


def _train(
    trainer: SftTrainer, cfg: SftConfig, checkpoint: Checkpoint | None, stop: StopRequest, tell: Observer
) -> float:
    """Trains to the end, and returns the seconds that it took."""
    tell.stage("training")
    began = time.perf_counter()
    with stop.listening():
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint.folder))
    if stop.reason is not None:
        leave(cfg)
        raise _stopped(cfg, stop.reason, trainer.state.global_step)
    if (best := trainer.best_step()) is not None:
        tell.stage(f"back to the weights of step {best}, which has the lowest held-out loss")
    return time.perf_counter() - began


def _tasks(
    harness: Harness, trainer: SftTrainer, tokenizer: PreTrainedTokenizerBase, tell: Observer
) -> dict[str, float]:
    """Scores on the tasks of lm-eval, logged."""
    if harness.cfg.lm_eval_tasks:
        tell.stage(f"evaluating on {', '.join(harness.cfg.lm_eval_tasks)}")
    scores = harness.scores(trainer.model, tokenizer, Path(trainer.args.output_dir or "."))
    if scores:
        trainer.log({f"lm_eval/{name}": score for name, score in scores.items()})
    return scores


def _publish(cfg: SftConfig, out: Path, reports: list[ServiceReport], tell: Observer) -> None:
    """Everything is measured: services end their runs, and the hub gets the result."""
    for report in reports:
        report.end()
    if (address := push_result(cfg, out)) is not None:
        tell.stage(f"uploaded to {address}")


def _checkpoint(cfg: SftConfig, identity: dict[str, Any], processes: int, tell: Observer) -> Checkpoint | None:
    """The checkpoint to go on from, after what a killed run has left half-done is cleared away."""
    clear_leftovers(Path(cfg.output_dir), tell.stage)
    return find_checkpoint(cfg, identity, processes, tell.stage)


def _stopped(cfg: SftConfig, reason: str, step: int) -> StoppedEarlyError:
    folder = Path(cfg.output_dir) / f"checkpoint-{step}"
    message = f"stopped after step {step} ({reason}); its checkpoint is {folder}"
    if cfg.save_only_model:
        return StoppedEarlyError(message, fix=f"begin a new run with `base_model: {folder}`: it holds the model alone")
    return StoppedEarlyError(message, fix="run again with `resume_from_checkpoint: true` to go on from there")


def _prepare(cfg: SftConfig, tell: Observer, *, first: bool) -> Prepared:
    """The data, after the observer has heard of each stage and of each format that was told by the columns.

    The first process of a machine prepares them, and the others wait for its lock, which has no timeout as a message
    between processes has.
    """
    prepared = prepare(cfg, _announcing(tell), first=first)
    for sentence in prepared.detected:
        tell.stage(sentence)
    return prepared


def _announcing(observer: Observer) -> Callable[[Progress], None]:
    """Tells the observer each stage of the preparation once, at its first item."""
    seen: set[str] = set()

    def notify(progress: Progress) -> None:
        if progress.dataset not in seen:
            seen.add(progress.dataset)
            observer.stage(WAITING if progress.waiting else f"preparing {progress.dataset}")

    return notify
