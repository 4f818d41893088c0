"""Runs shown by services: real libraries, offline; those that are not installed up to the refusal."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from sft_schema import ConfigError, SftConfig, TrainingError
from sft_train.callback.service import SERVICES, services
from sft_train.env import environment
from sft_train.run import run

MakeConfig = Callable[..., SftConfig]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where wandb writes: the working folder of its first run in a process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder := tmp_path_factory.mktemp("service"))
        yield folder


def test_the_environment_is_as_it_was_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFT_A", "before")
    with environment({"SFT_A": "1", "SFT_B": "2"}):
        assert (os.environ["SFT_A"], os.environ["SFT_B"]) == ("1", "2")
    assert os.environ["SFT_A"] == "before"
    assert "SFT_B" not in os.environ


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.library)
def test_a_missing_library_is_refused_before_anything_is_loaded(
    config: MakeConfig, monkeypatch: pytest.MonkeyPatch, service: object
) -> None:
    monkeypatch.setattr("sft_train.optional.find_spec", lambda name: None)
    switch, install = service.switch, service.install  # type: ignore[attr-defined]
    cfg = config(**{switch: "true"}, base_model="nowhere")
    with pytest.raises(ConfigError) as caught:
        run(cfg)
    (issue,) = caught.value.issues
    assert (issue.code, issue.path) == ("not_installed", (switch,))
    assert issue.fix.startswith(f"install `{install}`")


def test_missing_tensorboard_is_refused_before_anything_is_loaded(
    config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sft_train.optional.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="tensorboard is not installed"):
        run(config(use_tensorboard="true", base_model="nowhere"))


def offline_records(file: Path) -> list[bytes]:
    """The records of an offline run: after 7 bytes, blocks of 32 KiB with pieces of checksum, length, kind and data."""
    data, place, records, held = file.read_bytes(), 7, [], b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        held += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            records.append(held)
            held = b""
    return records


@pytest.mark.extra("wandb")
def test_a_run_is_reported_to_weights_and_biases(config: MakeConfig, data_folder: Path, folder: Path) -> None:
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    cfg = config(
        max_steps="2",
        test_datasets=f"[{{path: {data_folder / 'heldout.jsonl'}}}]",
        wandb_project="small",
        wandb_entity="team",
        wandb_name="first",
        wandb_run_id="abc123",
        wandb_mode="offline",
        wandb_watch="gradients",
        wandb_log_model="end",
    )
    assert cfg.use_wandb
    run(cfg)
    assert wandb.run is None, "the run was left open"
    assert "WANDB_WATCH" not in os.environ
    (file,) = folder.glob("wandb/offline-run-*-abc123/run-abc123.wandb")
    records = [Record.FromString(data) for data in offline_records(file)]
    rows = [["/".join(item.nested_key) or item.key for item in each.history.item] for each in records]
    started = next(each.run for each in records if each.HasField("run"))
    assert (started.project, started.entity, started.display_name) == ("small", "team", "first")
    assert sum("train/loss" in row for row in rows) == 2
    assert sum("eval/loss" in row for row in rows) == 2, "the scores before and after training"


@pytest.mark.extra("wandb")
def test_a_failed_run_is_not_left_open(config: MakeConfig, folder: Path) -> None:
    import wandb

    before = set(folder.glob("wandb/offline-run-*"))
    cfg = config(max_steps="4", use_wandb="true", wandb_mode="offline", loss_watchdog_threshold="0.1")
    with pytest.raises(TrainingError):
        run(cfg)
    assert wandb.run is None
    assert len(set(folder.glob("wandb/offline-run-*")) - before) == 1


@pytest.mark.extra("trackio")
def test_a_run_is_reported_to_trackio(
    config: MakeConfig, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "trackio"
    monkeypatch.setattr("trackio.utils.TRACKIO_DIR", folder)
    monkeypatch.setattr("trackio.sqlite_storage.TRACKIO_DIR", folder, raising=False)
    heldout = f"[{{path: {data_folder / 'heldout.jsonl'}}}]"
    run(config(max_steps="2", test_datasets=heldout, trackio_project_name="small", trackio_run_name="first"))
    (file,) = folder.glob("small*.db")
    with sqlite3.connect(file) as database:
        rows = [json.loads(text) for (text,) in database.execute("select metrics from metrics where run_name='first'")]
    assert sum("train/loss" in row for row in rows) == 2
    assert sum("eval/loss" in row for row in rows) == 2


def test_settings_reach_the_services_that_are_not_installed_here(
    config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config(
        mlflow_experiment_name="small",
        mlflow_tracking_uri="http://localhost:5000",
        mlflow_run_name="first",
        hf_mlflow_log_artifacts="true",
        comet_project_name="small",
        comet_workspace="team",
        comet_experiment_key="k" * 32,
        comet_mode="create",
        comet_online="false",
    )
    assert cfg.use_mlflow
    assert cfg.use_comet
    monkeypatch.setattr("sft_train.optional.find_spec", lambda name: object())
    if find_spec("mlflow") or find_spec("comet_ml"):
        pytest.skip("they are installed")
    seen: dict[str, str] = {}
    monkeypatch.setattr("sft_train.callback.service.ServiceReport", lambda *_: seen.update(os.environ))
    with pytest.raises(AttributeError), services(cfg):
        pass
    wanted = {
        "MLFLOW_EXPERIMENT_NAME": "small",
        "MLFLOW_TRACKING_URI": "http://localhost:5000",
        "HF_MLFLOW_LOG_ARTIFACTS": "true",
        "COMET_PROJECT_NAME": "small",
        "COMET_WORKSPACE": "team",
        "COMET_EXPERIMENT_KEY": "k" * 32,
        "COMET_START_MODE": "create",
        "COMET_START_ONLINE": "false",
    }
    assert wanted.items() <= seen.items()


def test_a_run_is_sent_to_a_collector(config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    bodies: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    cfg = config(use_otel_metrics="true", max_steps="2")
    run(cfg)
    server.shutdown()
    server.server_close()
    found = ExportMetricsServiceRequest.FromString(bodies[-1]).resource_metrics[0]
    values = {each.name: each.gauge.data_points[0].as_double for each in found.scope_metrics[0].metrics}
    lines = [json.loads(line) for line in (Path(cfg.output_dir) / "metrics.jsonl").read_text().splitlines()]
    assert values["sft.step"] == 2
    assert values["sft.loss"] == next(line["loss"] for line in reversed(lines) if "loss" in line)
    names = {each.key: each.value.string_value for each in found.resource.attributes}
    assert names["service.name"] == "sft-train"
