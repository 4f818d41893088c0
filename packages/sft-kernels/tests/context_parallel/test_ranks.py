"""Attention over gloo ranks gives what one process gives, forward and backward; what is computed stands in ranks.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from sft_kernels.context_parallel import ContextParallel, contiguous, ring_varlen, ulysses_varlen, zigzag

SCRIPT = Path(__file__).with_name("ranks.py")


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    report = tmp_path_factory.mktemp("ranks") / "report.jsonl"
    command = [sys.executable, str(SCRIPT), str(report)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in report.read_text().splitlines()]


def test_ranks_give_the_output_and_the_gradients_of_one_process(lines: list[dict[str, Any]]) -> None:
    assert {(line["ranks"], line["case"].partition("-")[0]) for line in lines} == {
        (2, "ring"), (4, "ring"), (2, "ulysses"), (4, "ulysses"),
    }  # fmt: skip
    assert len(lines) > 80
    wrong = [line for line in lines if not max(line["worst"]) < 1e-5]
    assert not wrong, wrong


def test_ranks_give_the_same_bits_again(lines: list[dict[str, Any]]) -> None:
    assert all(line["same_again"] for line in lines)


@pytest.fixture
def alone() -> Iterator[dist.ProcessGroup]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    group = dist.group.WORLD
    assert group is not None
    yield group
    dist.destroy_process_group()


def test_calls_that_do_not_fit_the_group_are_refused(alone: dist.ProcessGroup) -> None:
    x = torch.ones(9, 2, 4)
    with pytest.raises(ValueError, match="the layout is for 2 ranks and the group has 1"):
        ring_varlen(x, x, x, zigzag([0, 9], 2), alone)
    with pytest.raises(ValueError, match=r"rank 0 has 8 tokens in this layout, and a tensor has shape \[9, 2, 4\]"):
        ring_varlen(x, x, x, zigzag([0, 8], 1), alone)
    with pytest.raises(ValueError, match=r"layout of chunks \[0, 0\]; make it with `contiguous`"):
        ulysses_varlen(x, x, x, zigzag([0, 9], 1), alone)
    with pytest.raises(ValueError, match="method is 'star'; choose one of ring, ulysses"):
        ContextParallel(contiguous([0, 9], 1), alone, "star")
    with pytest.raises(ValueError, match="which cannot run here: torch's scaled_dot_product_attention returns no lse"):
        ring_varlen(x, x, x, zigzag([0, 9], 1), alone, backend="sdpa")
