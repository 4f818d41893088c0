"""The workers of a Ray cluster make the same files as this machine's processes, also when they are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sft_data.block as block
from sft_data import prepare
from sft_data.command import main
from sft_schema import DataError

pytestmark = [pytest.mark.extra("ray"), pytest.mark.slow]

SLOW_FORMAT = """\
import os, time
from pathlib import Path
from sft_schema.record import Conversation

FOLDER = Path(__file__).parent


def slow(row):
    number = int(row["messages"][0]["content"].split()[1])
    (FOLDER / "workers").mkdir(exist_ok=True)
    (FOLDER / "workers" / str(os.getpid())).touch()
    time.sleep(0.02)
    return Conversation.model_validate({"messages": row["messages"]})
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One for all tests of this file: it takes seconds to start. `prepare` joins it and leaves it running."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    here = {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "log_to_driver": False}
    ray.init(num_cpus=2, object_store_memory=100 << 20, **here)
    yield
    ray.shutdown()


def rows(workspace: Any, name: str = "a.jsonl", count: int = 60) -> Path:
    return workspace.chats(
        name,
        *(
            [("user", f"question {n} of {name}"), ("assistant", "answer " * (1 + n % 7))]
            if n % 11
            else [("user", "x 0")]
            for n in range(count)
        ),
    )


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def settings(workspace: Any, name: str, **more: Any) -> dict[str, Any]:
    return {
        "base_model": str(workspace.tokenizer),
        "datasets": [{"path": str(rows(workspace))}, {"path": str(rows(workspace, "b.jsonl", 25))}],
        "learning_rate": 1e-3,
        "val_set_size": 0.1,
        "max_dropped_fraction": 1.0,
        "dataset_prepared_path": str(workspace.folder / name),
        **more,
    }


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("processes", [1, 2])
def test_the_files_are_those_of_the_local_engine(
    workspace: Any, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "_MOST_ROWS", 9)
    here = prepare(workspace.config(**settings(workspace, "here", dataset_num_proc=1)))
    there = prepare(workspace.config(**settings(workspace, "there", dataset_num_proc=processes)), engine="ray")
    assert len(list(here.folder.glob("shard-*.arrow"))) == 7 + 3
    assert content(there.folder) == content(here.folder)


@pytest.mark.usefixtures("cluster")
def test_what_a_worker_refuses_is_the_error_of_the_local_engine(workspace: Any) -> None:
    found: list[str] = []
    for engine in ("local", "ray"):
        cfg = workspace.config(**settings(workspace, engine, on_bad_row="error"))
        with pytest.raises(DataError) as refused:
            prepare(cfg, engine=engine)
        found.append(str(refused.value))
    assert found[0] == found[1]
    assert "a.jsonl:1" in found[0]


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_is_replaced_and_no_byte_differs(workspace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "_MOST_ROWS", 9)
    (workspace.folder / "slow_rows.py").write_text(SLOW_FORMAT, encoding="utf-8")
    monkeypatch.syspath_prepend(str(workspace.folder))
    (data,) = [str(rows(workspace))]
    custom = {"datasets": [{"path": data, "type": "custom", "format_function": "slow_rows:slow"}]}
    here = prepare(workspace.config(**settings(workspace, "here", **custom, dataset_num_proc=1)))
    workers, killed = workspace.folder / "workers", list[int]()
    for file in workers.iterdir():
        file.unlink()  # this process wrote it

    def kill_one(_: Any) -> None:
        """Called after each block: the worker is then in the middle of another."""
        if not killed:
            time.sleep(0.05)
            killed.append(min(int(file.name) for file in workers.iterdir()))
            os.kill(killed[0], signal.SIGKILL)

    cfg = workspace.config(**settings(workspace, "there", **custom, dataset_num_proc=2))
    there = prepare(cfg, kill_one, engine="ray")
    assert killed
    assert killed[0] != os.getpid()
    assert content(there.folder) == content(here.folder)


def test_the_command_goes_on_where_a_killed_reader_was(workspace: Any) -> None:
    """A cluster of its own; its machine's processes end with the reader."""
    config = workspace.folder / "run.json"
    config.write_text(json.dumps(settings(workspace, "killed", dataset_num_proc=2)), encoding="utf-8")
    script = workspace.folder / "prepare_it.py"
    script.write_text(
        "import sys, sft_data.block\nfrom sft_data.command import main\n"
        "if __name__ == '__main__':\n    sft_data.block._MOST_ROWS = 2\n    sys.exit(main(sys.argv[1:]))\n",
        encoding="utf-8",
    )
    command = [sys.executable, str(script), "prepare", str(config), "--engine", "ray"]
    reader = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    place = workspace.folder / "killed"
    while len(list(place.glob(".*/shard-*.json"))) < 3 and reader.poll() is None:
        time.sleep(0.01)
    reader.kill()
    reader.wait()
    assert not list(place.glob("*/manifest.json")), "it was done before it was killed"
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert again.returncode == 0, again.stderr
    alone = [*command[:-1], "local", "--set", f"dataset_prepared_path={workspace.folder / 'here'}"]
    assert subprocess.run(alone, capture_output=True, check=False, timeout=120).returncode == 0
    folders = [next(iter(each.glob("*/manifest.json"))).parent for each in (place, workspace.folder / "here")]
    assert content(folders[0]) == content(folders[1])


def test_ray_that_is_not_installed_and_two_ways_to_share_out_are_refused(
    workspace: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = workspace.folder / "run.json"
    config.write_text(json.dumps(settings(workspace, "x")), encoding="utf-8")
    assert main(["prepare", str(config), "--engine", "ray", "--shard", "1/2"]) == 2
    assert "two ways to share out" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["prepare", str(config), "--engine", "ray"]) == 2
    assert "sft-data[ray]" in capsys.readouterr().err


def test_a_cluster_that_is_not_there_is_named(workspace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    if ray.is_initialized():
        ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "1")
    with pytest.raises(DataError, match=r"Ray cluster 127\.0\.0\.1:1: cannot be reached"):
        prepare(workspace.config(**settings(workspace, "x")), engine="ray")
