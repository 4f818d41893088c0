"""A checkpoint that is written while training goes on is the one that is written before it goes on."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sft_schema import SftConfig, TrainingError
from sft_train.checkpoint.find import problems_of
from sft_train.run import run

MakeConfig = Callable[..., SftConfig]
LORA = {"adapter": "lora", "lora_target_linear": "true", "lora_r": "8", "lora_modules_to_save": "[lm_head]"}
TIMED = {"trainer_state.json", "manifest.json"}
"""Files that hold tokens per second, and the SHA-256 of the other."""


def contents(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.name not in TIMED}


@pytest.mark.parametrize("adapter", [{}, LORA], ids=["full", "lora"])
def test_files_are_equal_byte_for_byte(config: MakeConfig, tmp_path: Path, adapter: dict[str, str]) -> None:
    settings = {"max_steps": "4", "save_steps": "1", "save_total_limit": "3", **adapter}
    plain, later = (tmp_path / name for name in ("plain", "later"))
    run(config(**settings, output_dir=str(plain)))
    run(config(**settings, output_dir=str(later), save_async="true"))
    assert [each.name for each in sorted(later.glob("checkpoint-*"))] == [f"checkpoint-{step}" for step in (2, 3, 4)]
    assert not [*later.glob(".unfinished*")]
    for step in (2, 3, 4):
        ours, wanted = (contents(out / f"checkpoint-{step}") for out in (later, plain))
        assert ours.keys() == wanted.keys() >= {"optimizer.pt", "scheduler.pt", "rng_state.pth", "tokenizer.json"}
        assert [name for name in wanted if ours[name] != wanted[name]] == []
        assert problems_of(later / f"checkpoint-{step}") == []
    assert contents(later / "checkpoint-2") != contents(later / "checkpoint-3"), "the copy is of one moment"


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_cannot_be_written_ends_the_run(config: MakeConfig) -> None:
    """Files of more than 250 kB: optimizer.pt alone."""
    cfg = config(max_steps="9", save_steps="2", save_async="true")
    with no_file_over(250_000), pytest.raises(TrainingError, match="checkpoint-2 could not be written"):
        run(cfg)
    assert [each for each in Path(cfg.output_dir).iterdir() if each.is_dir()] == []
