"""`sft compare`, on the files that runs leave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sft_cli.main import main
from sft_cli.run_folder import config_of
from sft_schema import DataError
from sft_schema.record import Manifest, RunSummary


@pytest.fixture
def runs(tmp_path: Path, summary: RunSummary, manifest: Manifest) -> list[str]:
    found = []
    for name, rate, loss in (("a", 1e-4, 0.5), ("b", 2e-4, 0.25)):
        folder = tmp_path / name
        folder.mkdir()
        settings = {"learning_rate": rate, "lora_r": 16, "datasets": [{"path": f"{name}.jsonl"}], "output_dir": name}
        (folder / "sft_config.yaml").write_text("".join(f"{k}: {json.dumps(v)}\n" for k, v in settings.items()))
        (folder / "summary.json").write_text(summary.model_copy(update={"eval_loss_after": loss}).model_dump_json())
        (folder / "data.json").write_text(manifest.model_dump_json())
        lines = [
            {"step": n, "eval_loss": loss + 1 / n, "grad_norm": n, "tokens_per_second": 10.0 * n} for n in (1, 2, 3)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "eval')
        found.append(str(folder))
    return found


def test_outcome_settings_and_data_stand_side_by_side(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *runs, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == runs
    outcome = {line["name"]: line for line in found["outcome"]}
    assert outcome["held-out loss"] == {"name": "held-out loss", "values": [0.5, 0.25], "best": [1]}
    assert outcome["lowest held-out loss"]["values"] == pytest.approx([0.5 + 1 / 3, 0.25 + 1 / 3])
    assert outcome["largest gradient norm"] == {"name": "largest gradient norm", "values": [3.0, 3.0], "best": []}
    assert outcome["findings"]["values"] == ["grad_spike", "grad_spike"]
    assert {line["name"]: line["values"] for line in found["settings"]} == {
        "learning_rate": [1e-4, 2e-4],
        "datasets.0.path": ["a.jsonl", "b.jsonl"],
    }
    data = {line["name"]: line["values"] for line in found["data"]}
    assert data["train rows_in"] == [1010, 1010]
    assert data["train rows dropped"] == [10, 10]


def test_text_marks_the_best_and_shows_what_a_run_lacks(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (Path(runs[0]) / "summary.json").unlink()
    assert main(["compare", *runs]) == 0
    lines = {line.partition("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["held-out loss"].split()[-2:] == ["-", "0.25"]
    assert lines["lowest held-out loss"].endswith("*")
    assert lines["learning_rate"].split() == ["learning_rate", "0.0001", "0.0002"]


def test_the_same_run_twice_has_the_same_settings_and_no_best(
    runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", runs[0], runs[0]]) == 0
    shown = capsys.readouterr().out
    assert "settings: the same" in shown
    assert "*" not in shown


@pytest.mark.parametrize("arguments", [["one"], ["no/such", "nor/this"]])
def test_what_cannot_be_compared_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *arguments]) == 2
    assert capsys.readouterr().out == ""


def test_files_of_another_version_are_named(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (Path(runs[1]) / "summary.json").write_text('{"steps": 1}')
    assert main(["compare", *runs]) == 2
    assert "summary.json" in capsys.readouterr().err


def test_nothing_heavy_is_imported(runs: list[str]) -> None:
    code = "import sys; from sft_cli.main import main; main(['compare', *sys.argv[1:]])\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *runs], capture_output=True, text=True, check=True)
    assert not set(done.stdout.splitlines()[-1].split()) & {"torch", "transformers", "pyarrow", "rich"}


def test_the_config_of_a_checkpoint_is_that_of_its_run(runs: list[str]) -> None:
    checkpoint = Path(runs[0]) / "checkpoint-3"
    checkpoint.mkdir()
    assert config_of(str(checkpoint)) == (f"{runs[0]}/sft_config.yaml", checkpoint)
    assert config_of("run.yaml") == ("run.yaml", None)
    with pytest.raises(DataError, match="missing"):
        config_of(str(Path(runs[0]).parent))
