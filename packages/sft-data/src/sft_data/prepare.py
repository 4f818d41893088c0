"""From a config to tokenised, masked samples on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np

from sft_data.account import Account
from sft_data.pipeline import Pipeline
from sft_data.row import BadRow, Row, RowError
from sft_data.source import fingerprint_source, read_rows
from sft_data.store import SampleStore, fingerprint, read_manifest, write_prepared
from sft_data.tokenizer import TextTokenizer, load_tokenizer
from sft_schema import DataError, SftConfig
from sft_schema.config import DatasetConfig
from sft_schema.record import Example, Manifest, Rendered

Notify = Callable[[str, int, int], None]

_ROWS_AT_A_TIME = 512
_VERSIONED = ("sft-data", "sft-schema", "tokenizers", "jinja2")


@dataclass(frozen=True, slots=True)
class Prepared:
    """Prepared data and the tokenizer that made it.

    Attributes:
        folder: `dataset_prepared_path`/fingerprint.
        manifest: the account.
        train: samples to train on.
        eval: samples to evaluate on, or None.
        tokenizer: with the template's stop tokens in front of `stop_ids`.
    """

    folder: Path
    manifest: Manifest
    train: SampleStore
    eval: SampleStore | None
    tokenizer: TextTokenizer


def prepare(cfg: SftConfig, notify: Notify | None = None) -> Prepared:
    """Loads, formats, renders, masks, tokenises and stores the data of a config; done once per fingerprint.

    Args:
        cfg: the config.
        notify: called as `notify(data set, rows done, 0)` along the way.

    Raises:
        DataError: a file, the tokenizer, the template or the data as a whole cannot be used; a bad row with
            `on_bad_row: error`; samples too long with `excess_length_strategy: raise`.
    """
    pipeline = Pipeline(cfg, load_tokenizer(cfg))
    folder = Path(cfg.dataset_prepared_path) / _fingerprint(cfg, pipeline.tokenizer)
    manifest = read_manifest(folder)
    if manifest is None:
        manifest = _build(cfg, pipeline, folder, notify or _silent)
    held_out = SampleStore(folder / "eval.arrow") if "eval" in manifest.splits else None
    return Prepared(folder, manifest, SampleStore(folder / "train.arrow"), held_out, pipeline.tokenizer)


def _build(cfg: SftConfig, pipeline: Pipeline, folder: Path, notify: Notify) -> Manifest:
    accounts = {"train": _account(cfg, cfg.datasets, pipeline, notify)}
    if cfg.test_datasets:
        accounts["eval"] = _account(cfg, cfg.test_datasets, pipeline, notify)
    elif cfg.val_set_size:
        accounts["eval"] = _split_off(cfg, accounts["train"])
    for name, account in accounts.items():
        account.require_samples(name)
    tokenizer = pipeline.tokenizer
    manifest = Manifest(
        fingerprint=folder.name,
        versions=_versions(),
        stop_tokens=tuple(tokenizer.backend.id_to_token(each) or "" for each in tokenizer.stop_ids),
        splits={name: account.counts() for name, account in accounts.items()},
    )
    bad = [row for account in accounts.values() for row in account.bad]
    write_prepared(folder, manifest, {name: account.samples for name, account in accounts.items()}, bad)
    return manifest


def _account(cfg: SftConfig, datasets: Iterable[DatasetConfig], pipeline: Pipeline, notify: Notify) -> Account:
    account = Account(cfg)
    for dataset in datasets:
        rows = read_rows(dataset)
        while block := list(islice(rows, _ROWS_AT_A_TIME)):
            _take(block, dataset, pipeline, account)
            notify(dataset.path, account.rows_in, 0)
    return account


def _take(rows: Sequence[Row | BadRow], dataset: DatasetConfig, pipeline: Pipeline, account: Account) -> None:
    """Some rows through all arrows; they are encoded together, because that uses all cores."""
    rendered: list[tuple[Row, Example, Rendered]] = []
    for row in rows:
        account.rows_in += 1
        with account.row(row.origin):
            if isinstance(row, BadRow):
                raise RowError(row.reason, row.detail)
            rendered.append((row, *pipeline.render(row, dataset)))
    encoded = pipeline.tokenizer.encode_batch([text.text for _, _, text in rendered])
    for (row, example, text), tokens in zip(rendered, encoded, strict=True):
        with account.row(row.origin):
            account.keep(pipeline.sample(row, pipeline.mask(example, text, tokens, dataset)))


def _split_off(cfg: SftConfig, train: Account) -> Account:
    """Moves `val_set_size` of the samples, chosen by the seed, into an account of their own."""
    count = len(train.samples)
    wanted = round(cfg.val_set_size * count) if cfg.val_set_size < 1 else int(cfg.val_set_size)
    if not 0 < wanted < count:
        fix = f"choose a size that leaves rows on both sides of {count}"
        raise DataError(f"{wanted} of {count} samples", where=f"val_set_size {cfg.val_set_size}", fix=fix)
    chosen = set(np.random.default_rng(cfg.seed).permutation(count)[:wanted].tolist())
    held_out = Account(cfg, [train.samples[index] for index in sorted(chosen)], rows_in=wanted)
    train.samples = [sample for index, sample in enumerate(train.samples) if index not in chosen]
    train.rows_in -= wanted
    return held_out


def _fingerprint(cfg: SftConfig, tokenizer: TextTokenizer) -> str:
    return fingerprint(
        cfg,
        sources=[fingerprint_source(each) for each in (*cfg.datasets, *cfg.test_datasets)],
        tokenizer=tokenizer.folder / "tokenizer.json",
        chat_template=tokenizer.chat_template,
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _VERSIONED}


def _silent(stage: str, done: int, total: int) -> None:
    """For callers that show no progress."""
