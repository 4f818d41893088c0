"""Where the time of some steps goes, and on a GPU its memory.

profiler_trace.json is a Chrome trace, for https://ui.perfetto.dev; profiler_summary.json is the account of it, see
`sft_train.profile`; snapshot.pickle, on a GPU, is the history of the allocator for https://pytorch.org/memory_viz.
Further processes add their number to the names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sft_train.profile import read_profile


class StepProfiler(TrainerCallback):
    """Profiles a number of optimizer steps, once: forward passes, backward passes and the update.

    Args:
        folder: `output_dir`.
        steps: steps to profile.
        start: steps of the run before them. A resumed run that is beyond begins with its own first step.
        process: number of this process.
    """

    def __init__(self, folder: Path, steps: int, start: int, process: int) -> None:
        number = f"_{process}" if process else ""
        self.trace = folder / f"profiler_trace{number}.json"
        self.snapshot = folder / f"snapshot{number}.pickle"
        self.steps, self.start = steps, start
        self._profiler: profile | None = None
        self._end: int | None = None

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begins, when it is time."""
        if self._end is not None or state.global_step < self.start:
            return
        self._end = state.global_step + self.steps
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
            torch.cuda.memory._record_memory_history(enabled="all", stacks="all")  # pyright: ignore[reportPrivateUsage]
        self._profiler = profile(activities=activities, record_shapes=True, profile_memory=True)
        self._profiler.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ends, when it is time."""
        if state.global_step == self._end:
            self._write()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """A run that is shorter than the steps to profile."""
        self._write()

    def _write(self) -> None:
        if self._profiler is None:
            return
        self._profiler.stop()
        self.trace.parent.mkdir(parents=True, exist_ok=True)
        self._profiler.export_chrome_trace(str(self.trace))
        account = self.trace.with_name(self.trace.name.replace("trace", "summary"))
        account.write_text(read_profile(self.trace).model_dump_json(indent=2) + "\n", encoding="utf-8")
        self._profiler = None
        if torch.cuda.is_available():
            torch.cuda.memory._dump_snapshot(str(self.snapshot))  # pyright: ignore[reportPrivateUsage]
            torch.cuda.memory._record_memory_history(enabled=None)  # pyright: ignore[reportPrivateUsage]
