"""A checkpoint and a clean end when a run is told to stop: by SIGTERM, or by the clock.

Schedulers send SIGTERM some seconds before they kill: when a job's time is over, or its machine is wanted elsewhere.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sft_train.observer import Observer


class StopRequest(TrainerCallback):
    """Ends training after the step in which it was asked to, with a checkpoint of that step.

    Whatever is due at that step, such as an evaluation, is done before, so the run goes on exactly. When the step
    is the last one there is nothing to stop. All processes stop at the same step, whichever of them was asked.

    Args:
        minutes: after which it asks itself, or None.
        began: `time.perf_counter()` from which they count.
        observer: is told why training ends.

    Attributes:
        reason: who asked; None until training has stopped for it.
    """

    def __init__(self, minutes: float | None, began: float, observer: Observer) -> None:
        self.reason: str | None = None
        self._minutes, self._began, self._observer = minutes, began, observer
        self._signalled = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """A context in which SIGTERM asks to stop and does not kill. Only a main thread can listen to signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Looks whether any process was asked."""
        reason = self._asked(args)
        if reason is None or state.global_step >= state.max_steps:
            return
        self.reason = reason
        self._observer.stage(f"stopping after step {state.global_step}, with a checkpoint: {reason}")
        control.should_save = control.should_training_stop = True

    def _asked(self, args: TrainingArguments) -> str | None:
        late = self._minutes is not None and time.perf_counter() - self._began > 60 * self._minutes
        asked = [self._signalled, late]
        if args.world_size > 1:
            anywhere = torch.tensor(asked, dtype=torch.int32, device=args.device)
            dist.all_reduce(anywhere, dist.ReduceOp.MAX)
            asked = anywhere.bool().tolist()
        if asked[0]:
            return "SIGTERM"
        return f"max_minutes ({self._minutes:g}) are over" if asked[1] else None


def ignore_in_worker(_: int) -> None:
    """Lets a worker process of a data loader live through a SIGTERM that was meant for the run.

    A scheduler sends it to all processes. The loader ends its workers itself, and a worker ends when its run does.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
