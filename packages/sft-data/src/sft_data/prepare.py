"""From a config to tokenised, masked samples on disk."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from sft_data.block import Block, Part, parts_of, read_blocks
from sft_data.detect import settle_formats
from sft_data.part_account import PartAccount
from sft_data.pipeline import Pipeline
from sft_data.progress import Progress
from sft_data.ray_workers import WorkerError
from sft_data.source import count_rows, fingerprint_source
from sft_data.split_account import SplitAccount, dataset_names, settle_overlap, split_off
from sft_data.store import (
    SampleStore,
    ShardInfo,
    fetch_prepared,
    fingerprint,
    finish,
    give_way,
    lacking,
    local_folder,
    locked,
    publish_prepared,
    read_manifest,
    shard_name,
    stores_of,
    work_folder,
    write_index,
    write_quarantine,
)
from sft_data.tokenizer import TextTokenizer, load_tokenizer
from sft_data.verify import verify_prepared
from sft_data.versions import function_digests, versions
from sft_data.vision import PictureProcessor
from sft_data.workers import Engine, make_shards
from sft_schema import DataError, SftConfig
from sft_schema.record import Manifest

Notify = Callable[[Progress], None]
MakeShards = Callable[[Iterator[Block], Path], Generator[ShardInfo]]
"""`make_shards` for a config and an engine."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Prepared data and the tokenizer that made it.

    Attributes:
        folder: `dataset_prepared_path`/fingerprint, or this machine's copy of it.
        manifest: the account.
        train: samples to train on.
        eval: samples to evaluate on, or None.
        tokenizer: with the template's stop tokens in front of `stop_ids`.
        detected: a sentence for each `type: auto`, which format it is and why.
        processor: the model's processor of pictures, with `processor_type`.
    """

    folder: Path
    manifest: Manifest
    train: SampleStore
    eval: SampleStore | None
    tokenizer: TextTokenizer
    detected: tuple[str, ...] = ()
    processor: PictureProcessor | None = None


def prepare(cfg: SftConfig, notify: Notify | None = None, *, engine: Engine = "local", first: bool = True) -> Prepared:
    """Loads, formats, renders, masks, tokenises and stores the data of a config; done once per fingerprint.

    Rows go through in blocks, so that the memory it takes hardly depends on how many there are. What a killed process
    had finished is not done again, and of several processes that begin together one does the work. What a remote store
    has is copied and checked instead, and what it does not have is copied there.

    Args:
        cfg: the config.
        notify: told along the way how far it is.
        engine: whose processes do the work: `local` for this machine's, `ray` for those of the Ray cluster that
            RAY_ADDRESS names, or of one on this machine. The files are the same.
        first: of processes that begin together, the one that shall do the work, and show how far it is. The others
            give way to it for half a minute, and do the work themselves where it does not come or is killed.

    Raises:
        DataError: a file, the tokenizer, the template or the data as a whole cannot be used; a bad row with
            `on_bad_row: error`; too many bad rows for `max_dropped_fraction`; samples too long with
            `excess_length_strategy: raise`; held-out samples that are trained on with `eval_overlap: error`; a remote
            store cannot be used, or what it has is damaged.
    """
    cfg, detected = settle_formats(cfg)
    pipeline = Pipeline(cfg, load_tokenizer(cfg))
    folder = local_folder(cfg.dataset_prepared_path) / _fingerprint(cfg, pipeline)
    stores = stores_of(cfg)
    manifest = read_manifest(folder)
    if manifest is None or lacking(stores, folder):
        lock = folder.parent / f".{folder.name}.lock"
        if not first:
            give_way(lock, lambda: read_manifest(folder) is not None)
        waits = partial(notify or _silent, Progress("", 0, None, 0, waiting=True))
        with locked(lock, waiting=waits):
            fetch_prepared(stores, folder, verify_prepared)
            manifest = read_manifest(folder)
            if manifest is None:
                make = partial(make_shards, cfg, pipeline, engine=engine)
                manifest = _build_or_discard(cfg, pipeline, folder, notify or _silent, make)
            for store in lacking(stores, folder):
                publish_prepared(folder, store)
            lock.unlink(missing_ok=True)  # whoever waits for it finds the work done
    held_out = SampleStore(folder / "eval.arrow") if "eval" in manifest.splits else None
    train, processor = SampleStore(folder / "train.arrow"), pipeline.pictures.processor
    return Prepared(folder, manifest, train, held_out, pipeline.tokenizer, detected, processor)


def prepare_share(cfg: SftConfig, job: int, jobs: int, notify: Notify | None = None) -> int:
    """Makes the shards of one of several jobs; `prepare` makes the rest, and joins them.

    Args:
        cfg: the config; its `dataset_prepared_path` is a folder that all jobs share.
        job: number of this job, from 1.
        jobs: how many there are.
        notify: told along the way how far it is.

    Returns:
        How many blocks of rows are this job's.

    Raises:
        DataError: see `prepare`; or the folder is in a remote store.
    """
    if "://" in cfg.dataset_prepared_path:
        fix = "set it to a folder on a disk that all jobs share"
        raise DataError("jobs cannot share it", where=f"dataset_prepared_path {cfg.dataset_prepared_path}", fix=fix)
    cfg, _ = settle_formats(cfg)
    pipeline = Pipeline(cfg, load_tokenizer(cfg))
    folder = local_folder(cfg.dataset_prepared_path) / _fingerprint(cfg, pipeline)
    with locked(folder.parent / f".{folder.name}.lock", shared=True):
        if read_manifest(folder) is not None:
            return 0
        own = (block for block in read_blocks(cfg) if block.number % jobs == job - 1)
        rows = tokens = count = 0
        for shard in make_shards(cfg, pipeline, own, work_folder(folder)):
            count += 1
            rows, tokens = rows + shard.account["rows_in"], tokens + shard.account["tokens_in"]
            (notify or _silent)(Progress(f"job {job} of {jobs}", rows, None, tokens))
    return count


def _build_or_discard(cfg: SftConfig, pipeline: Pipeline, folder: Path, notify: Notify, make: MakeShards) -> Manifest:
    """Of data that are refused nothing is kept: another config or file is another preparation."""
    try:
        return _build(cfg, pipeline, folder, notify, make)
    except WorkerError:
        raise
    except DataError:
        shutil.rmtree(work_folder(folder))
        raise


def _build(cfg: SftConfig, pipeline: Pipeline, folder: Path, notify: Notify, make: MakeShards) -> Manifest:
    unfinished = work_folder(folder)
    parts = _read_parts(cfg, unfinished, notify, make)
    splits = _splits(cfg, parts)
    tokenizer = pipeline.tokenizer
    shards = [shard for part in parts.values() for shard in part.shards]
    manifest = Manifest(
        fingerprint=folder.name,
        versions=versions(),
        stop_tokens=tuple(tokenizer.backend.id_to_token(each) or "" for each in tokenizer.stop_ids),
        splits={split.name: split.counts() for split in splits},
        engines=dict(sorted(sum((part.total.engines for part in parts.values()), Counter[str]()).items())),
        shards={shard_name(shard.number): shard.sha256 for shard in shards},
    )
    for split in splits:
        sizes = [(shard_name(shard.number), shard.samples) for shard in shards]
        write_index(unfinished / f"{split.name}.arrow", split.columns(), sizes)
    write_quarantine(unfinished, chain.from_iterable(split.quarantined() for split in splits))
    finish(folder, manifest)
    return manifest


def _read_parts(cfg: SftConfig, folder: Path, notify: Notify, make: MakeShards) -> dict[Part, PartAccount]:
    """All rows into shards, and the account of each data set."""
    names = dataset_names(cfg.datasets) + dataset_names(cfg.test_datasets)
    parts = {part: PartAccount(cfg, name, folder) for part, name in zip(parts_of(cfg), names, strict=True)}
    owners: list[Part] = []  # of the blocks, by number
    blocks = _noted(read_blocks(cfg), owners)
    reading: Part | None = None
    totals: dict[Part, int | None] = {}
    with closing(make(blocks, folder)) as made:  # an error ends the workers before what they write is discarded
        for shard in made:
            part = owners[shard.number]
            if reading is not None and part != reading:
                parts[reading].check_budget()
            reading = part
            parts[part].add(shard)
            if part not in totals:
                totals[part] = None if notify is _silent else count_rows(part.dataset(cfg))
            done = parts[part].total
            notify(Progress(part.dataset(cfg).path, done.rows_in, totals[part], done.tokens_in))
    if reading is not None:
        parts[reading].check_budget()
    first = 0
    for account in parts.values():
        account.load(first)
        first += len(account.left)
    return parts


def _noted(blocks: Iterator[Block], owners: list[Part]) -> Iterator[Block]:
    for block in blocks:
        owners.append(block.part)
        yield block


def _splits(cfg: SftConfig, parts: dict[Part, PartAccount]) -> list[SplitAccount]:
    """Which samples are in which split, after everything that samples are compared for."""
    splits = [SplitAccount("train", [account for part, account in parts.items() if part.split == "train"])]
    if cfg.test_datasets:
        splits.append(SplitAccount("eval", [account for part, account in parts.items() if part.split == "eval"]))
    for split in splits:
        split.drop_duplicates(cfg)
    if cfg.val_set_size and not cfg.test_datasets:
        splits.append(split_off(cfg, splits[0]))
    for split in splits:
        split.require_samples()
    for held_out in splits[1:]:
        settle_overlap(cfg, splits[0], held_out)
    splits[0].mix(cfg, cfg.datasets)
    return splits


def _fingerprint(cfg: SftConfig, pipeline: Pipeline) -> str:
    return fingerprint(
        cfg,
        sources=[fingerprint_source(each) for each in (*cfg.datasets, *cfg.test_datasets)],
        tokenizer=pipeline.tokenizer.folder / "tokenizer.json",
        chat_template="\0".join(pipeline.templates) or None,
        versions=versions() | function_digests(cfg) | pipeline.pictures.versions(),
    )


def _silent(progress: Progress) -> None:
    """For callers that show no progress."""
