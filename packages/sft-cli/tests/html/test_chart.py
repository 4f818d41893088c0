from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from sft_cli.html.chart import LARGE, MAX_POINTS, SMALL, line_chart, nice_ticks, short_number, thin, tick_text


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 1), (0.31, 4.7), (-3, 3), (1e-9, 2e-9), (0, 123_456_789), (5, 5), (0, 0), (-2, -2), (8000, 8100)],
)
@pytest.mark.parametrize("count", [2, 4, 8])
def test_ticks_enclose_the_values_in_even_steps(low: float, high: float, count: int) -> None:
    ticks = nice_ticks(low, high, count)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= count + 2
    steps = [b - a for a, b in pairwise(ticks)]
    assert all(math.isclose(step, steps[0], rel_tol=1e-6) for step in steps)


def test_step_ticks_are_whole_numbers() -> None:
    assert nice_ticks(1, 3, 8, whole=True) == [1, 2, 3]
    assert all(tick == int(tick) for tick in nice_ticks(0.5, 1.5, 8, whole=True))


def test_ticks_of_one_axis_have_equal_digits() -> None:
    def texts(ticks: list[float]) -> list[str]:
        return [tick_text(tick, ticks) for tick in ticks]

    assert texts([0, 0.5, 1.0]) == ["0.0", "0.5", "1.0"]
    assert texts([0, 1000, 2000]) == ["0", "1,000", "2,000"]
    assert texts([0, 5e-5, 1e-4]) == ["0", "5e-5", "1e-4"]
    assert texts([0, 2e6, 4e6]) == ["0", "2e6", "4e6"]


def test_points_lie_inside_the_frame_and_in_order() -> None:
    points = [(float(step), 3 / step) for step in range(1, 51)]
    chart = line_chart("loss", "Loss", {"training loss": ("train", points)}, LARGE)
    assert chart is not None
    drawn = chart.series[0].points
    assert len(drawn) == 50
    assert all(chart.x.start <= point.x <= chart.x.end for point in drawn)
    assert all(chart.y.end <= point.y <= chart.y.start for point in drawn)
    assert [point.x for point in drawn] == sorted(point.x for point in drawn)
    assert drawn[0].y < drawn[-1].y, "a falling loss goes down the page"
    assert drawn[0].x == chart.x.start
    assert drawn[-1].x == chart.x.end


@pytest.mark.parametrize("points", [[(1.0, 2.0)], [(1.0, 0.0), (2.0, 0.0)], [(7.0, -1e9), (9.0, 1e9)]])
def test_odd_series_have_finite_coordinates(points: list[tuple[float, float]]) -> None:
    chart = line_chart("c", "C", {"c": ("train", points)}, SMALL)
    assert chart is not None
    assert all(math.isfinite(point.x) and math.isfinite(point.y) for point in chart.series[0].points)
    assert "nan" not in chart.series[0].path


def test_numbers_that_are_not_finite_are_not_drawn() -> None:
    points = [(1.0, 2.0), (2.0, math.nan), (3.0, math.inf), (4.0, 1.0)]
    chart = line_chart("c", "C", {"c": ("train", points)}, SMALL)
    assert chart is not None
    assert [point.step for point in chart.series[0].points] == [1, 4]


def test_without_values_there_is_no_chart() -> None:
    assert line_chart("c", "C", {"c": ("train", [(1.0, math.nan)]), "d": ("eval", [])}, SMALL) is None


def test_the_summary_says_where_each_line_begins_and_ends() -> None:
    lines = {"a": ("train", [(1.0, 4.0), (9.0, 0.5)]), "b": ("eval", [(0.0, 5.0)])}
    chart = line_chart("c", "Loss", lines, LARGE)
    assert chart is not None
    assert chart.summary == "Loss: a goes from 4 at step 1 to 0.5 at step 9; b is 5 at step 0"


def test_thinning_keeps_ends_order_and_spikes() -> None:
    values = random.Random(0)
    points = [(float(step), values.random()) for step in range(10_000)]
    points[4321] = (4321.0, 99.0)
    points[7654] = (7654.0, -99.0)
    kept = thin(points, MAX_POINTS)
    assert len(kept) <= MAX_POINTS
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert kept == sorted(kept)
    assert {points[4321], points[7654]} <= set(kept)


def test_few_points_are_all_kept() -> None:
    points = [(float(step), 1.0) for step in range(MAX_POINTS)]
    assert thin(points, MAX_POINTS) == points


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1.23456, "1.235"), (12345.6, "12,346"), (2.5e-5, "2.50e-05"), (-3, "-3"), (math.inf, "inf")],
)
def test_short_numbers(value: float, text: str) -> None:
    assert short_number(value) == text
