"""What is logged, as gauges of OpenTelemetry."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sft_train.optional import otel_gauges

_OTHERS = re.compile(r"[^A-Za-z0-9_./-]")
"""What a name of OpenTelemetry may not have in it."""
_LONGEST = 255


class OtelCallback(TrainerCallback):
    """A gauge `sft.NAME` for each number that is logged, with the optimizer step in `sft.step`.

    Where they go, how often and with which headers is what OpenTelemetry's own environment variables say
    (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_METRIC_EXPORT_INTERVAL, OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES).
    """

    def __init__(self) -> None:
        self._make, self._end = otel_gauges("sft-train")
        self._gauges: dict[str, Any] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Nothing: the first number makes its gauge."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Sets the gauges. Slashes, which names of OpenTelemetry may have, stay."""
        for name, value in ({"step": state.global_step} | (logs or {})).items():
            if isinstance(value, int | float):
                self._gauge(name).set(float(value))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Sends what is left, and ends."""
        end: Callable[[], object] = self._end
        end()

    def _gauge(self, name: str) -> Any:
        if name not in self._gauges:
            kept = "".join(
                letter if letter.isascii() and (letter.isalnum() or letter in "_.-/") else "_" for letter in name
            )
            self._gauges[name] = self._make(f"sft.{kept}"[:255])
        return self._gauges[name]
