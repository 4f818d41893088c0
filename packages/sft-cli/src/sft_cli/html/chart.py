"""Numbers over steps as the coordinates of an SVG line chart; `chart.svg.jinja` draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, isfinite, log10

XY = tuple[float, float]
"""Step and value."""

MAX_POINTS = 400
"""Points drawn of one series; of more, the lowest and the highest of each stretch are kept."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: its position in SVG units and its text."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Point:
    """A value in SVG units, with the numbers it stands for."""

    x: float
    y: float
    step: int
    value: str


@dataclass(frozen=True, slots=True)
class Series:
    """One line.

    Attributes:
        name: what the legend says.
        kind: `train` or `eval`: the CSS class of its line and marks.
        points: in order of the step.
        total: points before thinning out.
    """

    name: str
    kind: str
    points: tuple[Point, ...]
    total: int

    @property
    def path(self) -> str:
        """The `d` of an SVG path through all points."""
        return "M" + "L".join(f"{point.x:.1f} {point.y:.1f}" for point in self.points)


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear axis: `low` lies at `start` and `high` at `end`, in SVG units."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where `value` lies."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass(frozen=True, slots=True)
class Frame:
    """Size of a chart in SVG units and about how many ticks its axes have."""

    width: float
    height: float
    x_ticks: int
    y_ticks: int


@dataclass(frozen=True, slots=True)
class Chart:
    """A line chart.

    Attributes:
        id: unique in the page.
        title: what is drawn.
        summary: one sentence for those who do not see it.
        frame: its size.
        x: steps to SVG units.
        y: values to SVG units.
        x_ticks: marks of the step axis.
        y_ticks: marks of the value axis.
        series: the lines.
    """

    id: str
    title: str
    summary: str
    frame: Frame
    x: Scale
    y: Scale
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    series: tuple[Series, ...]


LARGE, SMALL = Frame(860, 320, 8, 6), Frame(320, 170, 5, 4)


def line_chart(name: str, title: str, lines: Mapping[str, tuple[str, Sequence[XY]]], frame: Frame) -> Chart | None:
    """A chart of one or more lines over the steps; None without a single finite value.

    Args:
        name: the chart's id.
        title: what is drawn.
        lines: legend text to (kind, points).
        frame: size.
    """
    finite = {text: (kind, _finite(points)) for text, (kind, points) in lines.items()}
    kept = {text: (kind, points) for text, (kind, points) in finite.items() if points}
    if not kept:
        return None
    steps, values = zip(*(point for _, points in kept.values() for point in points), strict=True)
    y_ticks = nice_ticks(min(values), max(values), frame.y_ticks)
    room = 0.0 if min(steps) < max(steps) else 0.5
    x = Scale(min(steps) - room, max(steps) + room, 58, frame.width - 14)
    y = Scale(y_ticks[0], y_ticks[-1], frame.height - 40, 12)
    return Chart(
        id=name,
        title=title,
        summary=f"{title}: " + "; ".join(_sentence(text, points) for text, (_, points) in kept.items()),
        frame=frame,
        x=x,
        y=y,
        x_ticks=tuple(
            Tick(x.at(step), f"{step:,.0f}")
            for step in nice_ticks(x.low, x.high, frame.x_ticks, whole=True)
            if x.low <= step <= x.high
        ),
        y_ticks=tuple(Tick(y.at(value), tick_text(value, y_ticks)) for value in y_ticks),
        series=tuple(_series(text, kind, points, x, y) for text, (kind, points) in kept.items()),
    )


def _series(name: str, kind: str, points: Sequence[XY], x: Scale, y: Scale) -> Series:
    drawn = (Point(x.at(step), y.at(value), int(step), short_number(value)) for step, value in thin(points, MAX_POINTS))
    return Series(name, kind, tuple(drawn), len(points))


def _finite(points: Sequence[XY]) -> list[XY]:
    return [(x, y) for x, y in points if isfinite(x) and isfinite(y)]


def _sentence(text: str, points: Sequence[XY]) -> str:
    (first, begin), (last, end) = points[0], points[-1]
    if len(points) == 1:
        return f"{text} is {short_number(begin)} at step {first:.0f}"
    return f"{text} goes from {short_number(begin)} at step {first:.0f} to {short_number(end)} at step {last:.0f}"


def nice_ticks(low: float, high: float, count: int, *, whole: bool = False) -> list[float]:
    """About `count` round numbers that enclose `low` to `high`, at least two.

    The steps are 1, 2, 4 or 5 times a power of ten, after Heckbert, "Nice numbers for graph labels", Graphics
    Gems, 1990. With `whole` they are whole numbers.
    """
    if high <= low:
        room = abs(low) * 0.05 or 1.0
        low, high = low - room, high + room
    rough = (high - low) / max(1, count - 1)
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 4, 5, 10) if factor * power >= rough * 0.999)
    if whole:
        step = max(1.0, step)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def thin(points: Sequence[XY], limit: int) -> list[XY]:
    """At most about `limit` of the points: of each stretch its lowest and highest, so that spikes stay."""
    if len(points) <= limit:
        return list(points)
    stretches = limit // 2 - 1
    edges = [1 + index * (len(points) - 2) // stretches for index in range(stretches + 1)]
    kept = [points[0]]
    for begin, end in pairwise(edges):
        stretch = points[begin:end]
        kept.extend(sorted({min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}))
    return [*kept, points[-1]]


def tick_text(value: float, ticks: Sequence[float]) -> str:
    """The number of one of an axis's `ticks`, with as many digits as that axis needs."""
    largest = max(abs(tick) for tick in ticks)
    if not 1e-3 <= largest < 1e6:
        if value == 0:
            return "0"
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:,.{max(0, -floor(log10(ticks[1] - ticks[0]) + 1e-9))}f}"


def short_number(value: float) -> str:
    """About four significant digits, thousands separated."""
    if value == 0 or not isfinite(value):
        return f"{value:g}"
    if abs(value) < 1e-3:
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
