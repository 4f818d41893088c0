"""Tasks of lm-eval: refused by name without it, and run where it is installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from sft_schema import ConfigError, SftConfig
from sft_train.evaluate import Harness
from sft_train.run import run

TASK = """
task: tiny_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: [" one", " two"]
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""


@pytest.mark.skipif(find_spec("lm_eval") is not None, reason="lm-eval is installed")
def test_without_lm_eval_tasks_are_refused_before_anything_is_loaded(config: Callable[..., SftConfig]) -> None:
    with pytest.raises(ConfigError, match=r"install `sft-train\[lm-eval\]`, or remove lm_eval_tasks"):
        run(config(lm_eval_tasks="[arc_easy]", base_model="nowhere"))


def test_several_processes_are_refused(config: Callable[..., SftConfig]) -> None:
    with pytest.raises(ConfigError, match="in one process, and this run has 2"):
        Harness(config(lm_eval_tasks="[arc_easy]"), 2)
    assert Harness(config(), 2).scores(None, None, Path()) == {}  # type: ignore[arg-type]


@pytest.mark.extra("lm_eval")
def test_the_result_is_evaluated(config: Callable[..., SftConfig], tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    rows = [{"question": f"Say {word}.", "answer": number} for number, word in enumerate(("one", "two"))] * 2
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "tiny.yaml").write_text(TASK.format(file=file))
    own = {"lm_eval_include_path": str(tmp_path / "tasks"), "max_steps": "1"}
    with pytest.raises(ConfigError, match="lm-eval knows no task 'tiny_chance'"):
        run(config(lm_eval_tasks="[tiny_chance]", **own))
    cfg = config(lm_eval_tasks="[tiny_choice]", lm_eval_limit="3", **own)
    summary = run(cfg)
    assert summary.task_scores.keys() == {"tiny_choice/acc"}
    written = json.loads((Path(cfg.output_dir) / "lm_eval.json").read_text())
    assert written["results"]["tiny_choice"]["acc,none"] == summary.task_scores["tiny_choice/acc"]
    assert written["n-samples"]["tiny_choice"]["effective"] == 3
    last = json.loads((Path(cfg.output_dir) / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["lm_eval/tiny_choice/acc"] == summary.task_scores["tiny_choice/acc"]
    assert "lm-eval, tiny_choice/acc" in (Path(cfg.output_dir) / "README.md").read_text()
