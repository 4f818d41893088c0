"""What a run has left in its folder, read without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from sft_schema import DataError
from sft_schema.record import Manifest, RunSummary

CONFIG, SUMMARY, METRICS, DATA = "sft_config.yaml", "summary.json", "metrics.jsonl", "data.json"
_FIX = "give the `output_dir` of a run"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run, as far as it came.

    Attributes:
        path: its `output_dir`.
        config: every setting, by key.
        metrics: the lines of metrics.jsonl.
        summary: its outcome; None where it has not ended.
        data: the account of its data; None where it has not ended.
    """

    path: Path
    config: dict[str, Any]
    metrics: tuple[dict[str, Any], ...]
    summary: RunSummary | None
    data: Manifest | None


def read_run(path: str) -> RunFolder:
    """Reads a run's folder.

    Raises:
        DataError: there is no run, or a file of it cannot be read.
    """
    folder = Path(path)
    config, metrics = folder / CONFIG, folder / METRICS
    if not (config.is_file() or metrics.is_file()):
        raise DataError(f"there is no run here: neither {CONFIG} nor {METRICS}", where=path, fix=_FIX)
    settings: Any = yaml.safe_load(config.read_text(encoding="utf-8")) if config.is_file() else {}
    return RunFolder(folder, cast("dict[str, Any]", settings), _lines(metrics), _summary(folder), _data(folder))


def config_of(source: str) -> tuple[str, Path | None]:
    """The config file of a run or of a folder with a model, and that folder; None where the config itself was given.

    Raises:
        DataError: the folder has no config.
    """
    path = Path(source)
    if not path.is_dir():
        return source, None
    kept = next((each / CONFIG for each in (path, path.parent) if (each / CONFIG).is_file()), None)
    if kept is None:
        fix = "give the config of the run instead, and the folder with `--set output_dir=...`"
        raise DataError(f"{CONFIG} is missing", where=source, fix=fix)
    return str(kept), path


def _summary(folder: Path) -> RunSummary | None:
    text = _text(folder / SUMMARY)
    return None if text is None else _checked(lambda: RunSummary.model_validate_json(text), folder / SUMMARY)


def _data(folder: Path) -> Manifest | None:
    text = _text(folder / DATA)
    return None if text is None else _checked(lambda: Manifest.model_validate_json(text), folder / DATA)


def _checked(read: Any, file: Path) -> Any:
    try:
        return read()
    except ValueError as error:
        message = f"not written by this version: {str(error).splitlines()[0]}"
        raise DataError(message, where=str(file), fix="compare runs of one version") from None


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _lines(file: Path) -> tuple[dict[str, Any], ...]:
    """A last line that a killed run left unfinished is left out."""
    text = _text(file) or ""
    return tuple(json.loads(line) for line in text.split("\n")[:-1] if line)
