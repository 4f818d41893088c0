"""Which adapter is meant, and how its run had the base model."""

from __future__ import annotations

from pathlib import Path

from sft_schema import ConfigError, Issue, SftConfig
from sft_schema.load import load_config


def adapter_run(source: str | Path) -> tuple[SftConfig | None, Path]:
    """The config of the run that made an adapter, and the adapter's folder.

    Args:
        source: the config of a run; or its `output_dir`, a checkpoint in it, or another folder with an adapter.

    Returns:
        The config is None where nothing is known but the adapter: its base model is then taken as it is on disk.

    Raises:
        ConfigError: the config cannot be read, or the run has no adapter.
    """
    path = Path(source)
    if path.is_dir():
        kept = (folder / "sft_config.yaml" for folder in (path, path.parent))
        file = next((each for each in kept if each.is_file()), None)
        cfg = None if file is None else load_config(str(file))
    else:
        cfg = load_config(str(source))
        path = Path(cfg.output_dir)
    if cfg is not None and cfg.adapter is None:
        fix = f"nothing has to be merged: {cfg.output_dir} holds a whole model"
        raise ConfigError([Issue("no_adapter", ("adapter",), "the run trains all weights", fix, file=str(source))])
    return cfg, path
