"""README.md of a trained model: what it was made of, how, and what came out, as the hub shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from sft_schema import SftConfig
from sft_schema.record import Manifest, RunSummary
from sft_train.report.config import config_text
from sft_train.report.summary import write_summary

_VERSIONS = ("sft-train", "sft-data", "sft-schema", "sft-kernels", "torch", "transformers", "peft", "tokenizers")


def write_outcome(cfg: SftConfig, manifest: Manifest, summary: RunSummary, folder: Path) -> None:
    """Writes summary.json, data.json (the account of the data) and the model card; see `write_card`."""
    (folder / "data.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    write_summary(summary, folder / "summary.json")
    write_card(cfg, manifest, summary, folder / "README.md")


def write_card(cfg: SftConfig, manifest: Manifest, summary: RunSummary, path: Path) -> None:
    """Writes the card; one that is there, such as peft's empty form, is replaced.

    Args:
        cfg: every setting of the run.
        manifest: account of its data.
        summary: its outcome.
        path: README.md.
    """
    parts = [_front(cfg), _opening(cfg, summary), _outcome(summary), _data(cfg, manifest), _made_with(cfg)]
    path.write_text("\n".join("\n".join(part) for part in parts) + "\n", encoding="utf-8")


def _front(cfg: SftConfig) -> list[str]:
    """Metadata that the hub reads. Values are JSON, which is YAML too."""
    kind = "text-generation" if cfg.processor_type is None else "image-text-to-text"
    values = {
        "base_model": cfg.base_model,
        "library_name": "peft" if cfg.adapter else "transformers",
        "pipeline_tag": kind,
        "tags": ["sft", "lora"] if cfg.adapter else ["sft"],
    }
    return ["---", *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()), "---"]


def _opening(cfg: SftConfig, summary: RunSummary) -> Iterator[str]:
    trained = "All weights were trained"
    if cfg.adapter:
        bits = ", on the base model in 4 bits" if cfg.load_in_4bit else ", on 8 bits" if cfg.load_in_8bit else ""
        trained = f"An adapter was trained (LoRA, rank {cfg.lora_r}, alpha {cfg.lora_alpha}{bits})"
    yield "# Model card"
    yield ""
    yield f"Supervised fine-tuning of {_code(cfg.base_model)}. {trained}: {summary.trainable_parameters:,} of"
    yield f"{summary.parameters:,} weights, in {summary.steps:,} optimizer steps ({summary.epochs:g} epochs)."


def _outcome(summary: RunSummary) -> Iterator[str]:
    others = summary.answer_scores_after.items()
    rows = (
        ("training loss per trained token, first and last", summary.train_loss_first, summary.train_loss_last),
        ("held-out loss per trained token", summary.eval_loss_before, summary.eval_loss_after),
        ("held-out answers generated word for word, part", summary.exact_match_before, summary.exact_match_after),
        *((f"held-out answers, {name}", summary.answer_scores_before.get(name), after) for name, after in others),
        *((f"lm-eval, {name}", None, score) for name, score in summary.task_scores.items()),
    )
    yield from ("", "## Outcome", "", "| | before | after |", "|---|---|---|")
    for name, before, after in rows:
        if after is not None:
            yield f"| {name} | {'' if before is None else f'{before:.4f}'} | {after:.4f} |"
    if summary.best_step is not None:
        yield from ("", f"These are the weights of step {summary.best_step}, of the lowest held-out loss.")
    yield ""
    yield "Nothing unusual was seen during training." if not summary.findings else "Seen during training:"
    if summary.findings:
        yield ""
    for each in summary.findings:
        yield f"- step {each.step}: {each.sentence} ({_code(each.code)})"


def _data(cfg: SftConfig, manifest: Manifest) -> Iterator[str]:
    yield from ("", "## Data", "")
    yield from (f"- {_code(dataset.path)}, format {_code(str(dataset.type))}" for dataset in cfg.datasets)
    head = ("split", "rows read", "samples", "dropped", "tokens", "trained tokens")
    yield from ("", f"| {' | '.join(head)} |", "|---" * len(head) + "|")
    for name, counts in manifest.splits.items():
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in counts.dropped.items()) or "0"
        cells = (name, f"{counts.rows_in:,}", f"{counts.rows_out:,}", dropped, f"{counts.tokens:,}")
        yield f"| {' | '.join(_plain(cell) for cell in cells)} | {counts.trained_tokens:,} |"
    ends = ", ".join(_code(token) for token in manifest.stop_tokens)
    yield from (
        "",
        f"Fingerprint of the prepared data: {_code(manifest.fingerprint)}. Turns end with {ends or 'nothing'}.",
    )


def _made_with(cfg: SftConfig) -> Iterator[str]:
    versions = ", ".join(f"{name} {version(name)}" for name in _VERSIONS)
    yield from ("", "## Made with", "", versions + ".", "", "<details><summary>Every setting</summary>", "")
    # Indented, as a fence could be closed by a value.
    yield from (f"    {line}" for line in config_text(cfg).splitlines())
    yield from ("", "</details>")


def _plain(text: str) -> str:
    """A text that stays in its cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def _code(text: str) -> str:
    """A text as code, whatever is in it."""
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"
