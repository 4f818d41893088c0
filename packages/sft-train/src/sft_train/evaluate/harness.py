"""Tasks of the lm-evaluation-harness on the trained model, in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from sft_schema import ConfigError, Issue
from sft_schema.config import EvaluationSection
from sft_train.optional import lm_eval_harness


class Harness:
    """The tasks of a config, looked up before anything is loaded.

    Args:
        cfg: the tasks, and how much of them.
        processes: processes that train together.

    Raises:
        ConfigError: lm-eval is not installed or does not know a task, or several processes would each run them.
    """

    def __init__(self, cfg: EvaluationSection, processes: int) -> None:
        self.cfg = cfg
        if not cfg.lm_eval_tasks:
            return
        if processes > 1:
            message = f"tasks are evaluated in one process, and this run has {processes}"
            fix = "remove it, and run `lm_eval --model hf --model_args pretrained=OUTPUT_DIR` on the result"
            raise ConfigError([Issue("lm_eval_processes", ("lm_eval_tasks",), message, fix)])
        self._lm_eval = lm_eval_harness()
        self._manager = self._lm_eval.tasks.TaskManager(include_path=cfg.lm_eval_include_path)
        unknown = [name for name in cfg.lm_eval_tasks if not self._manager.match_tasks([name])]
        if unknown:
            message = f"lm-eval knows no task {', '.join(map(repr, unknown))}"
            fix = "see `lm_eval ls tasks`, or name the folder of your own in `lm_eval_include_path`"
            raise ConfigError([Issue("lm_eval_task", ("lm_eval_tasks",), message, fix)])

    def scores(self, model: Any, tokenizer: PreTrainedTokenizerBase, output_dir: Path) -> dict[str, float]:
        """What the tasks give, also written to lm_eval.json with the harness's own account.

        Args:
            model: bare or with an adapter; in the mode it was in afterwards.
            tokenizer: of the result.
            output_dir: of the run.

        Returns:
            `task/metric` to number; the harness's standard errors are in the file alone. Empty without tasks.
        """
        if not self.cfg.lm_eval_tasks:
            return {}
        training = model.training
        model.eval()
        wrapped = self._lm_eval.models.huggingface.HFLM(
            pretrained=model, tokenizer=tokenizer, batch_size=self.cfg.eval_batch_size
        )
        found = self._lm_eval.simple_evaluate(
            model=wrapped,
            tasks=list(self.cfg.lm_eval_tasks),
            task_manager=self._manager,
            limit=self.cfg.lm_eval_limit,
            apply_chat_template=self.cfg.lm_eval_chat_template,
            log_samples=False,
            bootstrap_iters=0,
        )
        model.train(training)
        results: dict[str, dict[str, Any]] = found["results"]
        kept = {name: found[name] for name in ("results", "versions", "n-shot", "n-samples") if name in found}
        (output_dir / "lm_eval.json").write_text(json.dumps(kept, indent=2, default=str) + "\n", encoding="utf-8")
        return {
            f"{task}/{metric.removesuffix(',none')}": float(value)
            for task, values in results.items()
            for metric, value in values.items()
            if "," in metric and "_stderr" not in metric and isinstance(value, int | float)
        }
