"""What the tests of this package share: a tiny model, its data, and a config for both."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from sft_data import prepare
from sft_schema import SftConfig, parse_config
from sft_train.adapter import add_adapter
from sft_train.compute import Compute
from sft_train.model import load_model, load_tokenizer
from sft_train.testing import tiny_model, write_conversations
from sft_train.trainer import SftTrainer, training_arguments

torch.set_num_threads(1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test marked `extra(library)` where that library is not installed."""
    missing = [mark.args[0] for mark in item.iter_markers("extra") if find_spec(mark.args[0]) is None]
    if missing:
        pytest.skip(f"an extra: {', '.join(missing)} is not installed")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_conversations(folder / "train.jsonl", 24, seed=1)
    write_conversations(folder / "heldout.jsonl", 6, seed=2)
    return folder


@pytest.fixture
def config(model_folder: Path, data_folder: Path, tmp_path: Path) -> Callable[..., SftConfig]:
    """A config for the tiny model and data; keyword arguments are settings on top, as YAML text."""

    def make(**settings: str) -> SftConfig:
        given = {
            "base_model": str(model_folder),
            "datasets": f"[{{path: {data_folder / 'train.jsonl'}}}]",
            "dataset_prepared_path": str(data_folder / "prepared"),
            "output_dir": str(tmp_path / "out"),
            "sequence_len": "256",
            "sample_packing": "true",
            "learning_rate": "1e-3",
        } | settings
        return parse_config("".join(f"{key}: {value}\n" for key, value in given.items()))

    return make


@pytest.fixture
def trainer() -> Callable[[SftConfig], SftTrainer]:
    """A trainer for a config, on the CPU."""

    def make(cfg: SftConfig) -> SftTrainer:
        compute = Compute(bf16=False, use_cpu=True)
        args, prepared = training_arguments(cfg, compute), prepare(cfg)
        model = add_adapter(load_model(cfg, cfg.seed, compute), cfg)
        tokenizer = load_tokenizer(cfg, prepared.tokenizer, model)
        return SftTrainer(model, args, cfg=cfg, prepared=prepared, tokenizer=tokenizer, callbacks=[])

    return make
