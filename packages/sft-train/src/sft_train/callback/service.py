"""Services that show runs, through transformers' own integrations.

What a service is to know goes to it in two ways: environment variables, which its library or the integration reads,
and training arguments, of which each service gets a copy of its own, as two of them may name a run differently.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import CometCallback, MLflowCallback, TrackioCallback, WandbCallback

from sft_schema.config import ServiceSection
from sft_train.callback.otel import OtelCallback
from sft_train.env import environment
from sft_train.optional import require_library, start_wandb


@dataclass(frozen=True, slots=True)
class Service:
    """One service.

    Attributes:
        switch: the setting that turns it on.
        library: module that must be installed.
        install: what installs it.
        integration: transformers' callback.
        variables: setting to environment variable.
        arguments: setting to training argument.
        start: begins a run that the integration takes up, and gives what ends it; else the integration does both.
    """

    switch: str
    library: str
    install: str
    integration: Callable[[], TrainerCallback]
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    arguments: Mapping[str, str] = field(default_factory=dict[str, str])
    start: Callable[[ServiceSection], Callable[[bool], None] | None] | None = None


def _upper(*names: str) -> dict[str, str]:
    return {name: name.upper() for name in names}


SERVICES: tuple[Service, ...] = (
    Service(
        "use_wandb",
        "wandb",
        "sft-train[wandb]",
        WandbCallback,
        variables=_upper("wandb_watch", "wandb_log_model"),
        arguments={"wandb_name": "run_name"},
        start=start_wandb,
    ),
    Service(
        "use_trackio",
        "trackio",
        "sft-train[trackio]",
        TrackioCallback,
        arguments={
            "trackio_project_name": "project",
            "trackio_run_name": "run_name",
            "trackio_space_id": "trackio_space_id",
        },
    ),
    Service(
        "use_mlflow",
        "mlflow",
        "sft-train[mlflow]",
        MLflowCallback,
        variables=_upper("mlflow_tracking_uri", "mlflow_experiment_name", "hf_mlflow_log_artifacts"),
        arguments={"mlflow_run_name": "run_name"},
    ),
    Service(
        "use_comet",
        "comet_ml",
        "comet_ml",
        CometCallback,
        variables=_upper("comet_workspace", "comet_project_name", "comet_experiment_key")
        | {"comet_mode": "COMET_START_MODE", "comet_online": "COMET_START_ONLINE"},
    ),
    Service("use_otel_metrics", "opentelemetry.exporter.otlp.proto.http", "sft-train[otel]", OtelCallback),
)


class ServiceReport(TrainerCallback):
    """One service's callback. Its run stays open beyond training, for the scores that are measured afterwards.

    Args:
        service: which one.
        cfg: its settings.
    """

    def __init__(self, service: Service, cfg: ServiceSection) -> None:
        self.service = service
        self.inner = service.integration()
        self.arguments = {name: getattr(cfg, setting) for setting, name in service.arguments.items()}
        self._start = None if service.start is None else partial(service.start, cfg)
        self._finish: Callable[[bool], None] | None = None
        self._ending: Callable[[], object] | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        """Passed on."""
        self._begin()
        self.inner.on_train_begin(self._own(args), state, control, **kw)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        """Passed on. The first one may come before training: the score of the model as it was."""
        self._begin()
        own = self._own(args)
        self.inner.on_log(own, state, control, **kw)
        if self._ending is None:
            given = {name: value for name, value in kw.items() if name != "logs"}
            self._ending = lambda: self.inner.on_train_end(own, state, control, **given)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        """Passed on."""
        self.inner.on_save(self._own(args), state, control, **kw)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        """Kept for `end`."""
        self._ending = lambda: self.inner.on_train_end(self._own(args), state, control, **kw)

    def end(self) -> None:
        """Everything is measured: the service may end its run."""
        if self._ending is not None:
            self._ending()
            self._ending = None

    def close(self, *, failed: bool) -> None:
        """Leaves nothing open, also when the run has failed half-way."""
        if self._finish is not None:
            self._finish(failed)
        elif self.service.start is None:
            self.end()

    def _begin(self) -> None:
        if self._start is not None:
            self._finish, self._start = self._start(), None

    def _own(self, args: TrainingArguments) -> TrainingArguments:
        own = copy.copy(args)
        for name, value in self.arguments.items():
            if value is not None:
                setattr(own, name, value)
        return own


def wanted_services(cfg: ServiceSection) -> list[Service]:
    """Those that a config turns on.

    Raises:
        ConfigError: the library of one is not installed.
    """
    wanted = [service for service in SERVICES if getattr(cfg, service.switch)]
    for service in wanted:
        require_library(service.library, service.install, service.switch)
    return wanted


@contextmanager
def services(cfg: ServiceSection) -> Iterator[list[ServiceReport]]:
    """Reports to the services that a config turns on; none is open afterwards.

    Raises:
        ConfigError: the library of one is not installed.
    """
    wanted = wanted_services(cfg)
    with environment(_variables(wanted, cfg)):
        reports = [ServiceReport(service, cfg) for service in wanted]
        failed = True
        try:
            yield reports
            failed = False
        finally:
            for report in reports:
                report.close(failed=failed)


def _variables(wanted: list[Service], cfg: ServiceSection) -> dict[str, str]:
    """What the config says; what it leaves open stays as the environment has it."""
    values = {name: getattr(cfg, key) for service in wanted for key, name in service.variables.items()}
    texts = {name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items()}
    return {name: text for name, text in texts.items() if text}
