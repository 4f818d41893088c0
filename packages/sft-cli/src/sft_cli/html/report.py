"""report.html: what a run did, for somebody who was not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from jinja2 import Environment, PackageLoader, StrictUndefined

from sft_cli.account import data_account
from sft_cli.html.chart import LARGE, SMALL, XY, Chart, line_chart
from sft_cli.outcome import figures, is_exact
from sft_cli.token_groups import group_tokens
from sft_cli.visible import token_text, visible

if TYPE_CHECKING:
    from sft_data import InspectedRow
    from sft_schema.record import Manifest, RunSummary

Metrics = Sequence[Mapping[str, float]]

MAX_TOKENS = 4096
"""Tokens of the row that are shown: a page of more is slow to open. The page says so when it shows fewer."""

_SMALL_CHARTS = {
    "learning_rate": "Learning rate",
    "tokens_per_second": "Tokens per second",
    "grad_norm": "Gradient norm",
}


def write_report(
    folder: Path,
    summary: RunSummary,
    metrics: Metrics,
    manifest: Manifest,
    row: InspectedRow | None,
    config_text: str,
) -> Path:
    """Writes `folder`/report.html and returns its path.

    Args:
        folder: output folder of the run.
        summary: outcome of the run.
        metrics: the lines of metrics.jsonl: `step` and whatever was measured at it.
        manifest: account of the prepared data.
        row: a packed row whose tokens are shown; None shows none.
        config_text: the resolved config as YAML.
    """
    page = render_report(folder.resolve().name, summary, metrics, manifest, row, config_text)
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def render_report(
    title: str,
    summary: RunSummary,
    metrics: Metrics,
    manifest: Manifest,
    row: InspectedRow | None,
    config_text: str,
) -> str:
    """The page as text. `title` names the run; see `write_report` for the rest."""
    found = figures(summary)
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            title=title,
            summary=summary,
            figure_groups=[[f for f in found if f.before], [f for f in found if not f.before]],
            loss=_loss_chart(metrics),
            charts=_small_charts(metrics),
            manifest=manifest,
            account=data_account(manifest),
            config_text=config_text,
            **_tokens(row),
        )
    )


def _tokens(row: InspectedRow | None) -> dict[str, Any]:
    if row is None:
        return {"samples": []}
    return {
        "row": row.row,
        "total": len(row.tokens),
        "trained": sum(token.trained for token in row.tokens),
        "shown": min(MAX_TOKENS, len(row.tokens)),
        "sample_count": len(row.origins),
        "has_nothing": not all(token.text for token in row.tokens),
        "samples": group_tokens(row.tokens[:MAX_TOKENS], row.origins),
    }


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sft_cli", "html/templates"),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    extended = cast(Any, environment)  # jinja2 leaves the types of both dicts open
    extended.filters.update(token_text=token_text, role_class=_role_class)
    extended.tests.update(exactly=is_exact)
    return environment


def _finalize(value: Any) -> Any:
    """What every `{{ }}` passes through before it is escaped: no control character reaches the page."""
    is_markup = hasattr(value, "__html__")  # the output of a macro, escaped already
    return visible(value) if isinstance(value, str) and not is_markup else value


def _role_class(role: str | None) -> str:
    return role if role in ("system", "user", "assistant", "tool") else "other"


def _points(metrics: Metrics, key: str) -> list[XY]:
    points = {float(line["step"]): float(line[key]) for line in metrics if key in line}
    return sorted(points.items())


def _loss_chart(metrics: Metrics) -> Chart | None:
    lines = {
        "training loss": ("train", _points(metrics, "loss")),
        "held-out loss": ("eval", _points(metrics, "eval_loss")),
    }
    return line_chart("loss", "Loss per trained token", lines, LARGE)


def _small_charts(metrics: Metrics) -> list[Chart]:
    charts = (
        line_chart(key, title, {title: ("train", _points(metrics, key))}, SMALL) for key, title in _SMALL_CHARTS.items()
    )
    return [chart for chart in charts if chart is not None]
