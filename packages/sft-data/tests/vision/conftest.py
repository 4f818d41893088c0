"""Tiny processors of five families, as transformers loads them: its import takes seconds, so they are loaded once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft_data.vision import PictureProcessor
from sft_schema import SftConfig, parse_config
from sft_schema.testing.vision import write_png, write_processor


@pytest.fixture(scope="session")
def processor_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            made[family] = write_processor(tmp_path_factory.mktemp(family), family)
        return made[family]

    return make


@pytest.fixture(scope="session")
def processor(processor_folder: Callable[[str], Path]) -> Callable[[str], PictureProcessor]:
    def make(family: str) -> PictureProcessor:
        text = f"base_model: {processor_folder(family)}\ndatasets: [{{path: x}}]\nlearning_rate: 1e-3\n"
        return PictureProcessor.load(parse_config(text))

    return make


@pytest.fixture
def picture_config(processor_folder: Callable[[str], Path], tmp_path: Path) -> Callable[..., SftConfig]:
    """A config for tmp_path/rows.jsonl; keyword arguments are settings on top, as YAML text."""
    write_png(tmp_path / "red.png", 40, 30, (250, 0, 0))
    write_png(tmp_path / "blue.png", 56, 90, (0, 0, 250))

    def make(family: str, **settings: Any) -> SftConfig:
        given = {
            "base_model": str(processor_folder(family)),
            "processor_type": "AutoProcessor",
            "datasets": f"[{{path: {tmp_path / 'rows.jsonl'}}}]",
            "dataset_prepared_path": str(tmp_path / "prepared"),
            "sequence_len": "512",
            "learning_rate": "1e-3",
        } | settings
        return parse_config("".join(f"{key}: {value}\n" for key, value in given.items()))

    return make
