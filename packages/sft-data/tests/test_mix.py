"""Shares of data sets: by rows and by tokens, with the stopping rule that was chosen, the same for the same seed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from sft_data import inspect_rows, prepare
from sft_data.mix import mix
from sft_schema import DataError, SftConfig, parse_config


def config(**settings: Any) -> SftConfig:
    lines = [f"{key}: {str(value).lower() if isinstance(value, bool) else value}" for key, value in settings.items()]
    return parse_config("\n".join(["base_model: m", "datasets: [{path: a}]", "learning_rate: 1e-4", *lines]))


def lengths(*counts: int, tokens: int = 10) -> list[Any]:
    random = np.random.default_rng(1)
    return [random.integers(tokens, 3 * tokens, size=count) for count in counts]


UNDER, OVER = "interleave_under", "interleave_over"


@pytest.mark.parametrize(
    ("strategy", "weights", "wanted"),
    [
        (UNDER, [1, 1], {0: 100, 1: 100}),
        (OVER, [1, 1], {0: 400, 1: 400}),
        (UNDER, [3, 1], {0: 100, 1: 33}),
        (OVER, [3, 1], {0: 1200, 1: 400}),
        (UNDER, [0.2, 0.8], {0: 100, 1: 400}),
        (OVER, [0.2, 0.8], {0: 100, 1: 400}),
    ],
)
def test_shares_of_rows_are_the_weights_and_the_rule_ends_the_mix(
    strategy: str, weights: list[float], wanted: dict[int, int]
) -> None:
    order = mix(lengths(100, 400), weights, config(mix_strategy=strategy))
    assert Counter(part for part, _ in order) == wanted
    for part, count in ((0, 100), (1, 400)):
        times = Counter(Counter(index for each, index in order if each == part).values())
        assert max(times) - min(times) <= 1, "no sample comes twice more often than another"
        assert max(times) == -(-wanted[part] // count)


@pytest.mark.parametrize("strategy", [UNDER, OVER])
def test_shares_of_tokens_are_exact_to_a_sample(strategy: str) -> None:
    sizes = [*lengths(300), *lengths(200, tokens=100), *lengths(50, tokens=1000)]
    weights = [0.5, 0.3, 0.2]
    order = mix(sizes, weights, config(mix_strategy=strategy, mix_by="tokens"))
    tokens = np.zeros(3)
    for part, index in order:
        tokens[part] += sizes[part][index]
    for part, share in enumerate(weights):
        assert abs(tokens[part] - share * tokens.sum()) <= max(size.max() for size in sizes)


def test_a_mix_is_stirred_evenly_from_its_first_row_on() -> None:
    order = mix(lengths(100, 400), [1, 3], config(mix_strategy=UNDER, shuffle_merged_datasets=False))
    places = [place for place, (part, _) in enumerate(order) if part == 0]
    assert {b - a for a, b in pairwise(places)} <= {3, 4, 5}
    assert [index for part, index in order if part == 1] == sorted(index for part, index in order if part == 1)


def pairs(order: Any) -> list[tuple[int, int]]:
    return [(part, index) for part, index in order.tolist()]


def test_the_seed_alone_decides_the_choice() -> None:
    sizes = lengths(50, 400)
    one, again, other = (pairs(mix(sizes, [1, 1], config(mix_strategy=UNDER, seed=seed))) for seed in (1, 1, 2))
    assert one == again
    assert set(one) != set(other)


def chats(workspace: Any, name: str, count: int) -> dict[str, Any]:
    rows = [[("user", f"{name} question {number}"), ("assistant", "yes")] for number in range(count)]
    return {"path": str(workspace.chats(f"{name}.jsonl", *rows))}


def test_a_row_of_the_same_sample_twice_is_shown(workspace: Any) -> None:
    small, large = chats(workspace, "small", 1), chats(workspace, "large", 4)
    cfg = workspace.config(datasets=[small, large], mix_strategy="interleave_over", sample_packing=True)
    (row,) = inspect_rows(cfg)
    assert len(row.origins) == 8
    assert len({origin.place for origin in row.origins}) == 5


def test_what_a_mix_leaves_out_or_repeats_is_in_the_account(workspace: Any) -> None:
    small, large = chats(workspace, "small", 4), chats(workspace, "large", 10)
    under = prepare(workspace.config(datasets=[small, large], mix_strategy=UNDER))
    counts = under.manifest.splits["train"]
    assert len(under.train) == counts.rows_out == 8
    assert counts.dropped == {"not_in_mix": 6}
    assert counts.tokens == under.train.lengths.sum()
    over = prepare(
        workspace.config(datasets=[{**small, "weight": 1.0}, {**large, "weight": 2.0}], mix_strategy=OVER)
    ).manifest.splits["train"]
    assert (over.rows_in, over.rows_out, over.repeated) == (14, 14, 1)
    assert over.datasets[small["path"]].repeated == 1
    assert over.tokens == over.tokens_in + over.repeated_tokens


def test_a_mix_is_another_preparation_with_another_seed(workspace: Any) -> None:
    datasets = [chats(workspace, "small", 4), chats(workspace, "large", 10)]
    settings = [{}, {"mix_strategy": UNDER}, {"mix_strategy": UNDER, "seed": 1}, {"mix_strategy": OVER}]
    folders = {prepare(workspace.config(datasets=datasets, **each)).folder.name for each in settings}
    assert len(folders) == 4


def test_nothing_to_mix_is_named(workspace: Any) -> None:
    one = chats(workspace, "one", 4)
    settings = {"mix_strategy": UNDER, "dataset_exact_deduplication": True}
    with pytest.raises(DataError, match="no row of it is left to mix"):
        prepare(workspace.config(datasets=[one, one], **settings))
