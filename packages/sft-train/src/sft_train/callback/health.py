"""Says once, and at once, what a healthy run would not show. Only the first process does: it logs for all of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from sft_schema import SftConfig
from sft_schema.record import HealthFinding
from sft_train.callback.metrics import MetricsFile
from sft_train.health import History, RunFacts, detect, finding
from sft_train.observer import Observer

_STEADY = ("constant", "constant_with_warmup", "warmup_stable_decay")
"""Schedules that keep the learning rate for most of the run."""
_ENOUGH = 20
"""Steps after which weights that learn have changed, also where float16 skips the first ones."""


class HealthMonitor(TrainerCallback, ExportableState):
    """Looks at every log line, and at whether weights change; see `sft_train.health` for what it knows.

    A finding goes to the observer, to metrics.jsonl and to the run's summary. Checkpoints keep what was found, and the
    Trainer's own record in them the lines that it was found in, so a resumed run goes on with both.

    Args:
        cfg: the schedule.
        observer: is told.
        metrics: gets a line for each finding.

    Attributes:
        found: so far, resumed ones included.
    """

    def __init__(self, cfg: SftConfig, observer: Observer, metrics: MetricsFile) -> None:
        self.cfg, self.observer, self.metrics = cfg, observer, metrics
        self.found: list[HealthFinding] = []
        self._history = History()
        self._facts = RunFacts(0)
        self._weights = WeightWatch()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        found = [each.model_dump() for each in self.found]
        return {"args": {}, "attributes": {"found": found, "evals": self._history.evals}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Takes up what a checkpoint kept."""
        # The Trainer asks for the key of every callback when it saves; an older checkpoint lacks ours.
        kept = (state.stateful_callbacks or {}).setdefault(type(self).__name__, self.state())["attributes"]
        self.found = [HealthFinding.model_validate(each) for each in kept["found"]]
        self._history.evals = [(step, loss) for step, loss in kept["evals"]]
        for line in state.log_history:
            self._history.add(line["step"], line)
        warmup = args.get_warmup_steps(state.max_steps)
        schedule, model = self.cfg.lr_scheduler, kwargs["model"]
        # Random weights may be worse than guessing, and soon are not.
        vocabulary = None if self.cfg.reinit_weights else _vocabulary(model)
        self._facts = RunFacts(state.max_steps, warmup, schedule, schedule in _STEADY, vocabulary)
        self._weights.begin(model)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Looks at one line. The held-out loss before training comes before training begins."""
        for each in detect(self._history, self._facts, state.global_step, logs or {}):
            self._tell(each)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Looks once whether anything has changed."""
        if self._weights.step() == _ENOUGH:
            self._say_unchanged(state.global_step, kwargs["model"], ended=False)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Looks whether everything has changed."""
        self._say_unchanged(state.global_step, kwargs["model"], ended=True)

    def stopped(self, each: HealthFinding) -> None:
        """Keeps what has ended the run, in metrics.jsonl; the error itself tells the observer."""
        self._note(each)

    def _say_unchanged(self, step: int, model: nn.Module, *, ended: bool) -> None:
        unchanged, count = self._weights.unchanged(model), self._weights.count
        if unchanged and len(unchanged) == count:
            self._tell(finding("weights_frozen", step, count=count))
        elif unchanged and ended:
            names = ", ".join(unchanged[:3])
            self._tell(finding("weights_unused", step, count=len(unchanged), of=count, names=names))

    def _tell(self, each: HealthFinding) -> None:
        if any(known.code == each.code for known in self.found):
            return
        self._note(each)
        self.observer.stage(f"health: {each.sentence}\n        {each.advice} [{each.code}]")

    def _note(self, each: HealthFinding) -> None:
        self.found.append(each)
        self.metrics.write(each.step, {"finding": each.code, "sentence": each.sentence, "advice": each.advice})


class WeightWatch:
    """Whether trained weights change, told from the sum of each tensor.

    Sums are taken in float64 without a copy of the tensor; a step of any optimizer changes them.

    Attributes:
        count: trained tensors.
    """

    def __init__(self) -> None:
        self.count = self._steps = 0
        self._sums: dict[str, float] = {}

    def begin(self, model: nn.Module) -> None:
        """Notes the weights as they are."""
        self._sums = _sums(model)
        self.count = len(self._sums)

    def step(self) -> int:
        """Another step is done; gives how many were since the beginning."""
        self._steps += 1
        return self._steps

    def unchanged(self, model: nn.Module) -> list[str]:
        """Names of the trained tensors that are as they were; none where no step was done."""
        if not self._steps:
            return []
        return [name for name, total in _sums(model).items() if self._sums.get(name) == total]


@torch.no_grad()
def _sums(model: nn.Module) -> dict[str, float]:
    """Of trained tensors of this process; a tensor that is elsewhere, as DeepSpeed's are, is left out."""
    totals: dict[str, torch.Tensor] = {}
    for name, each in model.named_parameters():
        local: torch.Tensor = each.to_local() if hasattr(each, "to_local") else each
        if each.requires_grad and local.numel():
            totals[name] = local.sum(dtype=torch.float64)
    return {name: total.item() for name, total in totals.items()}


def _vocabulary(model: Any) -> int | None:
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    return getattr(bare.config.get_text_config(), "vocab_size", None)
