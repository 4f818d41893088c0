"""The workers of a Ray cluster make the same files as this machine's processes, also when they are killed."""

from __future__ import annotations

import json
import os
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

DEADLY_FORMAT = """\
import os
import signal
from pathlib import Path

HERE = Path(__file__).parent


def read(row, cfg):
    (HERE / f"worker-{os.getpid()}").touch()
    if row.origin.row == 31:
        try:
            (HERE / "died").touch(exist_ok=False)
        except FileExistsError:
            return row.values
        os.kill(os.getpid(), signal.SIGKILL)
    return row.values
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One for all tests of this file: it takes seconds to start. `prepare` joins it and leaves it running."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # before the import
    ray = pytest.importorskip("ray")
    here = {"address": "local", "num_cpus": 2, "include_dashboard": False, "object_store_memory": 100 << 20}
    for left in (2, 1, 0):
        try:
            ray.init(**here, log_to_driver=False)
            break
        except Exception as error:  # Ray gives up after 30 seconds, which a busy machine can take to start it
            ray.shutdown()
            if not left or "timed out during startup" not in str(error):
                raise
    yield
    ray.shutdown()


def rows(workspace: Any, name: str, count: int) -> Path:
    chats: list[list[tuple[str, str]]] = []
    for number in range(count):
        turns = [("user", f"question {number} of {name}"), ("assistant", "answer " * (1 + number % 7))]
        chats.append(turns if number % 11 else turns[:1])
    return workspace.chats(name, *chats)


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def settings(workspace: Any, name: str, **more: Any) -> dict[str, Any]:
    return {
        "base_model": str(workspace.tokenizer),
        "datasets": [{"path": str(rows(workspace, "a.jsonl", 60))}, {"path": str(rows(workspace, "b.jsonl", 25))}],
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
@pytest.mark.parametrize("refused", [{"on_bad_row": "error"}, {"max_dropped_fraction": 0.01}])
def test_what_is_refused_is_the_error_of_the_local_engine_and_leaves_nothing(
    workspace: Any, refused: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With many blocks underway: none may be written after what there was is thrown away."""
    monkeypatch.setattr(block, "_MOST_ROWS", 2)
    found: list[str] = []
    for engine in ("local", "ray"):
        cfg = workspace.config(**settings(workspace, engine, **refused, dataset_num_proc=2))
        with pytest.raises(DataError) as caught:
            prepare(cfg, engine=engine)
        assert type(caught.value) is DataError
        found.append(str(caught.value))
        assert not list((workspace.folder / engine).glob("*/*"))
    assert found[0] == found[1]
    assert "a.jsonl" in found[0]


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_is_replaced_and_no_byte_differs(workspace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its format has a relative path, which workers find from where the reader was started."""
    monkeypatch.setattr(block, "_MOST_ROWS", 9)
    monkeypatch.chdir(workspace.folder)
    Path("deadly.py").write_text(DEADLY_FORMAT, encoding="utf-8")
    data = str(rows(workspace, "a.jsonl", 60))
    custom = {"datasets": [{"path": data, "type": "custom", "format_function": "deadly.py:read"}]}
    there = prepare(workspace.config(**settings(workspace, "there", **custom, dataset_num_proc=2)), engine="ray")
    workers = {file.name for file in workspace.folder.glob("worker-*")}
    assert Path("died").exists()
    assert len(workers) > 1, "the killed one, and the one that did its block again"
    assert f"worker-{os.getpid()}" not in workers
    here = prepare(workspace.config(**settings(workspace, "here", **custom, dataset_num_proc=1)))
    assert content(there.folder) == content(here.folder)


@pytest.mark.usefixtures("cluster")
def test_a_block_whose_workers_all_die_is_named_and_what_is_done_is_kept(
    workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "_MOST_ROWS", 9)
    monkeypatch.setattr("sft_data.ray_workers._TRIES", 1)
    file = workspace.folder / "deadly.py"
    file.write_text(DEADLY_FORMAT.replace("return row.values\n        os", "pass\n        os"), encoding="utf-8")
    data = str(rows(workspace, "a.jsonl", 60))
    custom = {"datasets": [{"path": data, "type": "custom", "format_function": f"{file}:read"}]}
    with pytest.raises(DataError, match=r"a block was lost with its workers, tried 1 times(.|\n)*dataset_num_proc"):
        prepare(workspace.config(**settings(workspace, "there", **custom, dataset_num_proc=1)), engine="ray")
    assert len(list((workspace.folder / "there").glob(".*/shard-*.json"))) >= 3


@pytest.mark.usefixtures("cluster")
def test_a_worker_with_other_versions_refuses_to_work(workspace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ray_workers = pytest.importorskip("sft_data.ray_workers")
    real = ray_workers.versions
    monkeypatch.setattr(ray_workers, "versions", lambda: real() | {"tokenizers": "0.0.1"})
    with pytest.raises(DataError, match=r"Ray worker on .*: tokenizers is .* there, and 0\.0\.1 here"):
        prepare(workspace.config(**settings(workspace, "there")), engine="ray")


@pytest.mark.usefixtures("cluster")
def test_a_preparation_whose_reader_was_killed_goes_on_where_it_was(
    workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command starts a cluster of its own, whose workers end with it."""
    config = workspace.folder / "run.json"
    config.write_text(json.dumps(settings(workspace, "killed", dataset_num_proc=2)), encoding="utf-8")
    script = workspace.folder / "prepare_it.py"
    script.write_text(
        "import sys, sft_data.block\nfrom sft_data.command import main\n"
        "if __name__ == '__main__':\n    sft_data.block._MOST_ROWS = 1\n    sys.exit(main(sys.argv[1:]))\n",
        encoding="utf-8",
    )
    command = [sys.executable, str(script), "prepare", str(config), "--engine", "ray"]
    reader = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    place = workspace.folder / "killed"
    while len(list(place.glob(".*/shard-*.json"))) < 3 and reader.poll() is None:
        time.sleep(0.005)
    workers = [each for each in descendants(reader.pid) if name_of(each) in ("ray::_work", "ray::IDLE")]
    reader.kill()
    reader.wait()
    assert workers
    assert not list(place.glob("*/manifest.json")), "it was done before it was killed"
    deadline = time.monotonic() + 30
    while any(name_of(each) for each in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [each for each in workers if name_of(each)]
    monkeypatch.setattr(block, "_MOST_ROWS", 1)
    kept = {file: file.stat().st_mtime_ns for file in place.glob(".*/shard-*.arrow")}
    killed = prepare(workspace.config(**settings(workspace, "killed", dataset_num_proc=2)), engine="ray")
    whole = prepare(workspace.config(**settings(workspace, "whole", dataset_num_proc=1)))
    assert content(killed.folder) == content(whole.folder)
    again = {file.name: file.stat().st_mtime_ns for file in killed.folder.glob("shard-*.arrow")}
    assert sum(again[file.name] == written for file, written in kept.items()) >= 3


def descendants(process: int) -> list[int]:
    found = subprocess.run(["ps", "--ppid", str(process), "-o", "pid="], capture_output=True, text=True, check=False)
    return [pid for child in found.stdout.split() for pid in (int(child), *descendants(int(child)))]


def name_of(process: int) -> str | None:
    try:
        return Path(f"/proc/{process}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return None


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


def test_a_cluster_that_is_not_there_is_named_at_once(
    workspace: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # the other tests' cluster may be joined still
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    config = workspace.folder / "run.json"
    config.write_text(json.dumps(settings(workspace, "x")), encoding="utf-8")
    assert main(["prepare", str(config), "--engine", "ray"]) == 2
    assert "Ray cluster 127.0.0.1:1: cannot be reached" in capsys.readouterr().err
    assert not list((workspace.folder / "x").glob("*/*"))
