"""The outcome of a run as the figures that the terminal and the report show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sft_cli.account import percent
from sft_cli.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sft_schema.record import GeneratedAnswer, RunSummary


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a run, with its value before training where there is one.

    Attributes:
        name: what is measured.
        value: after training.
        before: before training, or None.
        note: a few words on how to read it.
    """

    name: str
    value: str
    before: str | None = None
    note: str = ""


def figures(summary: RunSummary) -> list[Figure]:
    """The figures of a run, the most telling first; what was not measured is left out."""
    found = [_exact_match(summary), *_overlaps(summary), _held_out(summary), _train_loss(summary), *_tasks(summary)]
    share = summary.trainable_parameters / summary.parameters if summary.parameters else 0.0
    speed = summary.tokens / summary.train_seconds if summary.train_seconds > 0 else 0.0
    done = [
        Figure("Optimizer steps", f"{summary.steps:,}", note=f"{summary.epochs:g} epochs"),
        Figure("Tokens", f"{summary.tokens:,}", note=f"{summary.trained_tokens:,} of them trained"),
        Figure("Time", duration(summary.seconds), note=f"{duration(summary.train_seconds)} in training"),
        Figure("Speed", f"{speed:,.0f}", note="tokens per second of the training loop"),
        Figure("Weights trained", percent(share), note=_parameters(summary)),
    ]
    return [figure for figure in found if figure is not None] + done


def _exact_match(summary: RunSummary) -> Figure | None:
    after, before = summary.exact_match_after, summary.exact_match_before
    if after is None:
        return None
    text = None if before is None else percent(before)
    return Figure("Exact match", percent(after), text, "held-out answers generated word for word")


def _overlaps(summary: RunSummary) -> Iterator[Figure]:
    names = {"chrf": ("chrF", "n-grams of characters"), "rouge_l": ("ROUGE-L", "words in order")}
    for key, after in summary.answer_scores_after.items():
        before, (name, shared) = summary.answer_scores_before.get(key), names[key]
        text = None if before is None else percent(before)
        yield Figure(name, percent(after), text, f"{shared} that held-out answers share with the wanted ones")


def _tasks(summary: RunSummary) -> Iterator[Figure]:
    for name, score in summary.task_scores.items():
        yield Figure(name, f"{score:.4f}", note="lm-evaluation-harness")


def _held_out(summary: RunSummary) -> Figure | None:
    after, before = summary.eval_loss_after, summary.eval_loss_before
    if after is None:
        return None
    return Figure("Held-out loss", f"{after:.4f}", None if before is None else f"{before:.4f}", "per trained token")


def _train_loss(summary: RunSummary) -> Figure | None:
    last, first = summary.train_loss_last, summary.train_loss_first
    if last is None:
        return None
    return Figure(
        "Training loss", f"{last:.4f}", None if first is None else f"{first:.4f}", "first and last logged step"
    )


def _parameters(summary: RunSummary) -> str:
    return f"{summary.trainable_parameters:,} of {summary.parameters:,}"


def duration(seconds: float) -> str:
    """Seconds as `4.2 s`, `3 min 07 s` or `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def figures_text(summary: RunSummary) -> str:
    """The figures as aligned lines."""
    lines = [
        (figure.name, f"{figure.before} -> {figure.value}" if figure.before else figure.value, figure.note)
        for figure in figures(summary)
    ]
    names, values = max(len(line[0]) for line in lines), max(len(line[1]) for line in lines)
    return "\n".join(f"{name:<{names}}  {value:<{values}}  {note}".rstrip() for name, value, note in lines)


def health_text(summary: RunSummary) -> str:
    """What was not as in a healthy run, two lines each; one line where there was nothing."""
    if not summary.findings:
        return "health  nothing unusual"
    lines = (
        f"health  step {each.step}: {each.sentence}\n        {each.advice} [{each.code}]" for each in summary.findings
    )
    return visible("\n".join(lines))


def is_exact(answer: str | None, wanted: str) -> bool:
    """Whether a generated answer counts as exact: white space around it aside, it is the wanted one."""
    return answer is not None and answer.strip() == wanted.strip()


def answers_text(samples: tuple[GeneratedAnswer, ...]) -> str:
    """The sample answers, one block each."""
    return "\n\n".join(_answer_text(sample) for sample in samples)


def _answer_text(sample: GeneratedAnswer) -> str:
    parts = (("prompt", sample.prompt), ("wanted", sample.wanted), ("before", sample.before), ("after", sample.after))
    return "\n".join(f"{name:<8}{_indented(text)}" for name, text in parts if text is not None)


def _indented(text: str) -> str:
    return visible(text.strip("\n")).replace("\n", "\n        ") or "(empty)"
