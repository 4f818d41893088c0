from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sft_schema import SftConfig, load_config
from sft_schema.record import HealthFinding, Manifest, RunSummary, SplitCounts
from sft_train.report import write_card
from sft_train.run import run

MakeConfig = Callable[..., SftConfig]


def test_a_run_leaves_a_card_with_outcome_data_versions_and_settings(config: MakeConfig, tmp_path: Path) -> None:
    cfg = config(adapter="lora", lora_target_linear="true", lora_r="4", max_steps="2", val_set_size="0.2")
    summary = run(cfg)
    text = (Path(cfg.output_dir) / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "base_model": cfg.base_model,
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["sft", "lora"],
    }
    assert f"{summary.trainable_parameters:,} of\n{summary.parameters:,} weights, in 2 optimizer steps" in body
    assert f"| {summary.eval_loss_before:.4f} | {summary.eval_loss_after:.4f} |" in body
    assert "Nothing unusual was seen" in body
    assert "| train | " in body
    assert "| eval | " in body
    assert "transformers 5." in body
    assert "More Information Needed" not in body
    settings = tmp_path / "again.yaml"
    settings.write_text("\n".join(line[4:] for line in body.splitlines() if line.startswith("    ")), encoding="utf-8")
    assert load_config(settings) == cfg


@pytest.mark.parametrize("hostile", ["a|b\n# big", "`code` --- ```", '": {} \\ é'])
def test_whatever_names_say_the_card_keeps_its_form(config: MakeConfig, tmp_path: Path, hostile: str) -> None:
    cfg = config().model_copy(update={"base_model": hostile})
    counts = SplitCounts(rows_in=3, rows_out=2, dropped={hostile: 1}, tokens=10, trained_tokens=4)
    manifest = Manifest(fingerprint="f", versions={}, stop_tokens=(hostile,), splits={"train": counts})
    found = HealthFinding(step=1, code="loss_flat", sentence="the loss does not fall", advice="raise it")
    sizes = {"tokens": 10, "trained_tokens": 4, "trainable_parameters": 1, "parameters": 2}
    summary = RunSummary(steps=1, epochs=1, seconds=1, train_seconds=1, findings=(found,), **sizes)
    write_card(cfg, manifest, summary, tmp_path / "README.md")
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))["base_model"] == hostile
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == ["# Model card", "## Outcome", "## Data", "## Made with"]
    assert "- step 1: the loss does not fall (`loss_flat`)" in text
    assert not any(line.startswith("```") for line in text.splitlines())
