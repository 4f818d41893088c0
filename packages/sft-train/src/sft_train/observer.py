"""What a run tells the program that started it. Importing this module imports neither torch nor transformers."""

from __future__ import annotations

from typing import Protocol

from sft_schema.record import Manifest, PackPlan, RunSummary


class Observer(Protocol):
    """Hears of a run as it goes. With several processes only the first one's observer is called."""

    def stage(self, text: str) -> None:
        """The run has come to `text`, such as "loading the model"."""

    def prepared(self, manifest: Manifest, plan: PackPlan) -> None:
        """The data are ready; `plan` is that of the first epoch."""

    def started(self, steps: int, done: int) -> None:
        """Training begins: `steps` optimizer steps in all, `done` of them in the checkpoint resumed from."""

    def logged(self, step: int, metrics: dict[str, float]) -> None:
        """Metrics of optimizer step `step`.

        While training `loss`, `grad_norm`, `learning_rate`, `tokens_per_second` and
        `trained_tokens_per_second`; after an evaluation `eval_loss` or `eval_exact_match`.
        """

    def finished(self, summary: RunSummary) -> None:
        """Everything is saved."""


class Silent:
    """An observer that says nothing: the default, and that of all processes but the first."""

    def stage(self, text: str) -> None:
        """Ignored."""

    def prepared(self, manifest: Manifest, plan: PackPlan) -> None:
        """Ignored."""

    def started(self, steps: int, done: int) -> None:
        """Ignored."""

    def logged(self, step: int, metrics: dict[str, float]) -> None:
        """Ignored."""

    def finished(self, summary: RunSummary) -> None:
        """Ignored."""
