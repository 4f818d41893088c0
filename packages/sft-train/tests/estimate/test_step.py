"""Time of a step is near what others have published, and messages are what rings send."""

from __future__ import annotations

import pytest

from sft_train.estimate import Layout, ModelShape, Plan, estimate_memory, estimate_step
from sft_train.estimate.layout import DEVICES

SHAPES = {
    "8B": ModelShape(4096, 32, 32, 8, 128, 14336, 128256),
    "70B": ModelShape(8192, 80, 64, 8, 128, 28672, 128256),
    "405B": ModelShape(16384, 126, 128, 8, 128, 53248, 128256),
}


def plan(rows: int = 1, recomputed: bool = False, lora_r: int = 0) -> Plan:
    linears = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj") if lora_r else ()
    held = 2.0 if lora_r else 4.0
    return Plan(rows * 8192, 1, False, 8192, "varlen", recomputed, True, True, held, held, 4.0, 8.0, lora_r, linears)


@pytest.mark.parametrize(
    ("size", "rows", "recomputed", "layout", "device", "published"),
    [
        ("8B", 2, False, Layout(8, 1, "weights"), "H100", (5762, 6667)),
        ("8B", 1, False, Layout(8, 8, "weights"), "A100-80GB", (2904, 2973)),
        ("70B", 1, True, Layout(8, 8, "weights"), "A100-80GB", (331, 331)),
        ("405B", 2, True, Layout(8, 16, "weights", tensor=8), "H100", (109, 109)),
    ],
)
def test_tokens_a_second_are_within_a_fifth_of_published_ones(
    size: str, rows: int, recomputed: bool, layout: Layout, device: str, published: tuple[float, float]
) -> None:
    """torchtitan, docs/performance.md (tokens a second of a GPU; the first two set `Device.reached`)."""
    step = estimate_step(SHAPES[size], plan(rows, recomputed), layout, DEVICES[device])
    rate = step.tokens / step.seconds / layout.processes
    assert 0.8 * published[0] <= rate <= 1.2 * published[1]


def test_rings_send_what_they_gather() -> None:
    shape = SHAPES["8B"]
    alone, eight = Layout(), Layout(8)
    assert estimate_step(shape, plan(), alone, DEVICES["H100"]).data_bytes == 0
    summed = estimate_step(shape, plan(), eight, DEVICES["H100"]).data_bytes
    assert summed == pytest.approx(2 * 7 / 8 * 4 * shape.weights)
    cut = estimate_step(shape, plan(), Layout(8, sharding="weights"), DEVICES["H100"]).data_bytes
    assert cut == pytest.approx(7 / 8 * (2 * 2 + 4) * shape.weights)


def test_shards_divide_what_they_hold_and_an_adapter_has_little_of_it() -> None:
    shape = SHAPES["70B"]
    totals = [
        estimate_memory(shape, plan(recomputed=True), layout, gpu=True)
        for layout in (Layout(8, 8), Layout(8, 8, "optimizer"), Layout(8, 8, "gradients"), Layout(8, 8, "weights"))
    ]
    assert [each.states * 64 for each in totals[1:]] == pytest.approx([totals[0].states] * 3)
    assert totals[3].weights * 64 == pytest.approx(totals[0].weights)
    assert totals[0].total > totals[1].total > totals[2].total > totals[3].total
    lora = estimate_memory(shape, plan(recomputed=True, lora_r=16), Layout(8), gpu=True)
    assert lora.weights == pytest.approx(2 * shape.weights, rel=0.02)
    assert lora.states < totals[0].states / 100
