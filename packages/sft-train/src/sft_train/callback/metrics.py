"""metrics.jsonl: one JSON object a line, `{"step": 1, "loss": ..., ...}`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class MetricsFile(TrainerCallback):
    """Appends what is logged of training and evaluation, line by line, so that a killed run keeps it.

    Args:
        path: the file.
        resumed_step: step of the checkpoint that the run goes on from. Lines of later steps are dropped: these
            steps are done again. None for a run that begins anew: the file is emptied.
        known: lines of that very step that the checkpoint knows of; what comes after is done again too, such as the
            scores at the end of a run. None keeps them all.
    """

    def __init__(self, path: Path, resumed_step: int | None, known: int | None = None) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = read_metrics(path) if resumed_step is not None else []
        kept = [line for line in lines if line["step"] < (resumed_step or 0)]
        kept += [line for line in lines if line["step"] == resumed_step][:known]
        path.write_text("".join(f"{json.dumps(line)}\n" for line in kept), encoding="utf-8")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Writes one line."""
        self.write(state.global_step, logs or {})

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Appends a line: the step and what is known of it."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a last line that a killed run left unfinished is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]
