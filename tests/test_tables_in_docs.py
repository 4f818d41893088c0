"""The tables that the pages show are the tables of the code, row for row."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from sft_schema.advice import MODEL_SIZES, USUAL_OPTIMIZERS, USUAL_RANGES
from sft_schema.attention import ALL_BACKENDS, HUB_KERNEL, LEAKS, AttentionBackend
from sft_schema.config.rules import RULES
from sft_schema.optim import OPTIMIZERS, SCHEDULES, Optimizer, Schedule
from sft_schema.plugin import GROUPS
from sft_train.health import SYMPTOMS

DOCS = Path(__file__).parents[1] / "docs"


def yes(value: bool) -> str:
    return "yes" if value else "no"


def backend_line(row: AttentionBackend) -> str:
    capability = ", ".join(f"{sm / 10:.1f}" for sm in row.only_sm) or (
        f"{row.min_sm / 10:.1f}+" if row.min_sm else "any"
    )
    multiple = "" if row.head_dim_multiple == 1 else f" by {row.head_dim_multiple}"
    cells = [
        f"`{row.name}`",
        row.isolation,
        row.library or "",
        ", ".join(row.dtypes),
        "CPU, any GPU" if row.on_cpu else capability,
        f"{row.max_head_dim or 'any'}{multiple}",
        yes(row.sliding_window),
        yes(row.softcap),
        yes(row.sinks),
        yes(row.context_parallel),
        row.deterministic.replace("_", " "),
        "yes" if row.missing is None else row.missing,
    ]
    return f"| {' | '.join(cells)} |"


def leak_lines() -> list[str]:
    by_cause: dict[tuple[str, ...], list[str]] = {}
    for row in LEAKS.values():
        by_cause.setdefault(row.causes, []).append(f"`{row.model_type}`")
    return [
        f"| {' and '.join(causes).replace('_', ' ')} | {', '.join(sorted(names))} |"
        for causes, names in by_cause.items()
    ]


def range_lines() -> list[str]:
    methods = ("lora", "qlora", "full")
    lines = []
    for row in USUAL_RANGES:
        spans = [
            f"{row.ranges[each][0]:g} to {row.ranges[each][1]:g}" if each in row.ranges else "" for each in methods
        ]
        lines.append(f"| `{row.key}` | {' | '.join(spans)} |")
    optimizers = [" or ".join(f"`{name}`" for name in USUAL_OPTIMIZERS[each]) for each in methods]
    return [*lines, f"| `optimizer` | {' | '.join(optimizers)} |"]


def size_lines() -> list[str]:
    return [f"| {row.name} | {row.adapter} | {row.memory} | {row.full or 'one GPU'} |" for row in MODEL_SIZES]


def names(values: Iterable[str]) -> str:
    return ", ".join(f"`{each}`" for each in values)


def optimizer_line(row: Optimizer) -> str:
    states = "8 bits" if row.state_dtype == "uint8" else "float32"
    cells = [
        f"`{row.name}`",
        f"{states}, paged" if row.paged else states,
        names(row.reads),
        names(each.name for each in row.args),
        row.decay,
        f"`{row.extra}`" if row.extra else "",
    ]
    return f"| {' | '.join(cells)} |"


def schedule_line(row: Schedule) -> str:
    cells = [f"`{row.name}`", row.formula, yes(row.warmup), yes(row.min_ratio), names(each.name for each in row.args)]
    return f"| {' | '.join(cells)} |"


TABLES = {
    "optimizers.md, optimizers": [optimizer_line(row) for row in OPTIMIZERS.values()],
    "optimizers.md, schedules": [schedule_line(row) for row in SCHEDULES.values()],
    "attention.md, backends": [backend_line(row) for row in (*ALL_BACKENDS.values(), HUB_KERNEL)],
    "attention.md, leaks": leak_lines(),
    "advice.md, ranges": range_lines(),
    "advice.md, sizes": size_lines(),
    "advice.md, rules": [f"`{rule.code}`" for rule in RULES],
    "watching.md, findings": [f"| `{row.code}` | {row.seen} |" for row in SYMPTOMS.values()],
    "plugins.md, groups": [f"`{group}`" for group in GROUPS],
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_that_of_the_code(name: str) -> None:
    page = (DOCS / name.split(",")[0]).read_text(encoding="utf-8")
    missing = [line for line in TABLES[name] if line not in page]
    assert not missing, "\n".join(missing)
