"""From a config to tokenised, masked samples on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from sft_data.account import Account
from sft_data.collector import collector_paused
from sft_data.detect import settle_formats
from sft_data.duplicate import Duplicates
from sft_data.excess import Piece, fit, price
from sft_data.format import function_digest
from sft_data.pipeline import Pipeline
from sft_data.row import BadRow, Row, RowError
from sft_data.source import fingerprint_source, read_rows
from sft_data.split_account import SplitAccount, dataset_names, settle_overlap, split_off
from sft_data.store import (
    SampleStore,
    fetch_prepared,
    fingerprint,
    local_folder,
    publish_prepared,
    read_manifest,
    write_prepared,
)
from sft_data.tokenizer import TextTokenizer, load_tokenizer
from sft_schema import SftConfig
from sft_schema.config import DatasetConfig
from sft_schema.record import Example, Manifest, Rendered, Tokens

Notify = Callable[[str, int, int], None]

_ROWS_AT_A_TIME = 512
_VERSIONED = ("sft-data", "sft-schema", "tokenizers", "jinja2")


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
    """

    folder: Path
    manifest: Manifest
    train: SampleStore
    eval: SampleStore | None
    tokenizer: TextTokenizer
    detected: tuple[str, ...] = ()


def prepare(cfg: SftConfig, notify: Notify | None = None) -> Prepared:
    """Loads, formats, renders, masks, tokenises and stores the data of a config; done once per fingerprint.

    Args:
        cfg: the config.
        notify: called as `notify(data set, rows done, 0)` along the way.

    Raises:
        DataError: a file, the tokenizer, the template or the data as a whole cannot be used; a bad row with
            `on_bad_row: error`; too many bad rows for `max_dropped_fraction`; samples too long with
            `excess_length_strategy: raise`; held-out samples that are trained on with `eval_overlap: error`.
    """
    cfg, detected = settle_formats(cfg)
    pipeline = Pipeline(cfg, load_tokenizer(cfg))
    folder = local_folder(cfg.dataset_prepared_path) / _fingerprint(cfg, pipeline)
    fetch_prepared(cfg.dataset_prepared_path, folder)
    manifest = read_manifest(folder)
    if manifest is None:
        manifest = _build(cfg, pipeline, folder, notify or _silent)
        publish_prepared(folder, cfg.dataset_prepared_path)
    held_out = SampleStore(folder / "eval.arrow") if "eval" in manifest.splits else None
    return Prepared(folder, manifest, SampleStore(folder / "train.arrow"), held_out, pipeline.tokenizer, detected)


def _build(cfg: SftConfig, pipeline: Pipeline, folder: Path, notify: Notify) -> Manifest:
    splits = [_read_split("train", cfg, cfg.datasets, pipeline, notify)]
    if cfg.test_datasets:
        splits.append(_read_split("eval", cfg, cfg.test_datasets, pipeline, notify))
    elif cfg.val_set_size:
        splits.append(split_off(cfg, splits[0]))
    for split in splits:
        split.require_samples()
    for held_out in splits[1:]:
        settle_overlap(cfg, splits[0], held_out)
    splits[0].mix(cfg, cfg.datasets)
    tokenizer = pipeline.tokenizer
    manifest = Manifest(
        fingerprint=folder.name,
        versions=_versions(),
        stop_tokens=tuple(tokenizer.backend.id_to_token(each) or "" for each in tokenizer.stop_ids),
        splits={split.name: split.counts() for split in splits},
        engines=dict(sorted(tokenizer.encoder.rows.items())),
    )
    bad = [row for split in splits for row in split.bad]
    write_prepared(folder, manifest, {split.name: split.samples for split in splits}, bad)
    return manifest


def _read_split(
    name: str, cfg: SftConfig, datasets: Sequence[DatasetConfig], pipeline: Pipeline, notify: Notify
) -> SplitAccount:
    split, seen = SplitAccount(name), Duplicates(cfg)
    for dataset, label in zip(datasets, dataset_names(datasets), strict=True):
        account, rows = Account(cfg, label), read_rows(dataset)
        split.parts.append(account)
        while block := list(islice(rows, _ROWS_AT_A_TIME)):
            with collector_paused():
                _take(block, dataset, pipeline, account, seen)
            notify(dataset.path, account.rows_in, 0)
        account.check_budget()
    return split


def _take(
    rows: Sequence[Row | BadRow], dataset: DatasetConfig, pipeline: Pipeline, account: Account, seen: Duplicates
) -> None:
    """Some rows through all arrows; they are encoded together, because that uses all cores."""
    rendered: list[tuple[Row, Example, Rendered]] = []
    for row in rows:
        account.rows_in += 1
        with account.row(row.origin):
            if isinstance(row, BadRow):
                raise RowError(row.reason, row.detail)
            found = pipeline.examples(row, dataset)
            account.expanded += len(found) - 1
            rendered.extend(found)
    texts = ["" if isinstance(example, Tokens) else text.text for _, example, text in rendered]
    encoded = pipeline.tokenizer.encode_rows(texts, [row.origin.place for row, _, _ in rendered])
    for (row, example, text), tokens in zip(rendered, encoded, strict=True):
        with account.row(row.origin):
            masked = pipeline.mask(example, text, tokens, dataset)
            sample, whole = pipeline.sample(row, masked), Piece.whole(row, masked)
            if twin := seen.twin_of(sample, row, dataset):
                account.drop(sample, *twin)
            strategy = account.cfg.excess_length_strategy
            if strategy == "raise" and whole.stop > account.cfg.sequence_len:
                account.refuse(sample, price(whole, example, dataset, pipeline))
                continue
            pieces = fit(whole, example, dataset, pipeline, strategy)
            account.keep(sample, [piece.of(pipeline.sample(piece.row, piece.masked)) for piece in pieces])


def _fingerprint(cfg: SftConfig, pipeline: Pipeline) -> str:
    return fingerprint(
        cfg,
        sources=[fingerprint_source(each) for each in (*cfg.datasets, *cfg.test_datasets)],
        tokenizer=pipeline.tokenizer.folder / "tokenizer.json",
        chat_template="\0".join(pipeline.templates) or None,
        versions=_versions() | _functions(cfg),
    )


def _functions(cfg: SftConfig) -> dict[str, str]:
    """Digests of the custom formats in use."""
    names = {each.format_function for each in (*cfg.datasets, *cfg.test_datasets)} - {None}
    return {name: function_digest(name) for name in names if name is not None}


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _VERSIONED}


def _silent(stage: str, done: int, total: int) -> None:
    """For callers that show no progress."""
