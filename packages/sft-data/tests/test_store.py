"""What is stored is the same whoever made it, whenever it was stopped, and in whatever number of processes."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import sft_data.block as block
from sft_data import prepare
from sft_data.source import read_rows
from sft_data.store import read_manifest, read_shard_info, work_folder
from sft_schema import DataError
from sft_schema.config import DatasetConfig
from sft_schema.errors import ConfigError, ContractError, SftError, TrainingError

SCRIPT = """\
import sys
import sft_data.block
from sft_data import prepare
from sft_schema import parse_config
if __name__ == "__main__":
    sft_data.block._MOST_ROWS = int(sys.argv[1])
    print(prepare(parse_config(open(sys.argv[2]).read())).folder)
"""


def chats(workspace: Any, name: str, count: int) -> Path:
    rows: list[list[tuple[str, str]]] = []
    for number in range(count):
        turns = [("user", f"question {number % 90} of {name}"), ("assistant", "answer " * (1 + number % 7))]
        rows.append(turns * (1 + number % 3) if number % 11 else [("user", "no answer")])
    return workspace.chats(name, *rows)


def settings(workspace: Any, **more: Any) -> dict[str, Any]:
    files = [chats(workspace, "a.jsonl", 130), chats(workspace, "b.jsonl", 60)]
    return {
        "base_model": str(workspace.tokenizer),
        "datasets": [{"path": str(file)} for file in files],
        "learning_rate": 1e-3,
        "val_set_size": 0.1,
        "eval_overlap": "keep",
        "dataset_exact_deduplication": True,
        "dataset_near_deduplication": 0.99,
        "max_dropped_fraction": 1.0,
        "sequence_len": 48,
        "excess_length_strategy": "split",
        "mix_strategy": "interleave_over",
        **more,
    }


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def started(workspace: Any, values: dict[str, Any], rows: int = 10) -> subprocess.Popen[str]:
    """A process of its own that prepares the config, in blocks of a few rows."""
    script, config = workspace.folder / "prepare_it.py", workspace.folder / "config.json"
    script.write_text(SCRIPT, encoding="utf-8")
    config.write_text(json.dumps(values), encoding="utf-8")
    command = [sys.executable, str(script), str(rows), str(config)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_number_of_processes_changes_no_byte(workspace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "_MOST_ROWS", 17)
    made: list[dict[str, str]] = []
    for count in (1, 2, 4):
        values = settings(workspace, dataset_num_proc=count, dataset_prepared_path=str(workspace.folder / str(count)))
        made.append(digests(prepare(workspace.config(**values)).folder))
    assert len([name for name in made[0] if name.startswith("shard")]) == 8 + 4
    assert made[0] == made[1] == made[2]


@pytest.mark.slow
def test_killed_at_random_moments_it_goes_on_and_the_bytes_are_the_same(workspace: Any) -> None:
    """One and the same preparation is killed 20 times; what each of them finished is not made again."""
    whole = started(workspace, settings(workspace, dataset_prepared_path=str(workspace.folder / "whole")), rows=2)
    wanted = digests(Path(whole.communicate()[0].strip()))
    choose, kills, ends, kept = random.Random(5), 0, 0, 0
    while kills < 20:
        path = workspace.folder / f"killed-{ends}"
        values = settings(workspace, dataset_prepared_path=str(path), dataset_num_proc=1 + kills % 2)
        process = started(workspace, values, rows=2)
        finished = list(path.glob("*/manifest.json"))
        while not finished and process.poll() is None and not _grown(path, kept):
            time.sleep(0.005)
        time.sleep(choose.random() * 0.05)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
        kept = len(list(path.glob(".*/shard-*.json")))
        if finished := list(path.glob("*/manifest.json")):
            assert digests(finished[0].parent) == wanted
            ends, kept = ends + 1, 0
    values = settings(workspace, dataset_prepared_path=str(workspace.folder / f"killed-{ends}"))
    last = started(workspace, values, rows=2)
    assert digests(Path(last.communicate()[0].strip())) == wanted


def _grown(path: Path, kept: int) -> bool:
    return len(list(path.glob(".*/shard-*.json"))) > kept


def test_finished_shards_are_not_made_again(workspace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "_MOST_ROWS", 10)
    values = settings(workspace, dataset_num_proc=1, dataset_prepared_path=str(workspace.folder / "prepared"))
    cfg = workspace.config(**values)
    made: list[int] = []
    real = sys.modules["sft_data.workers"].make_shard

    def stopped(cfg: Any, pipeline: Any, rows: Any, folder: Any) -> Any:
        made.append(rows.number)
        if len(made) == 6:
            raise KeyboardInterrupt
        return real(cfg, pipeline, rows, folder)

    monkeypatch.setattr(sys.modules["sft_data.workers"], "make_shard", stopped)
    with pytest.raises(KeyboardInterrupt):
        prepare(cfg)
    prepare(cfg)
    assert made == [0, 1, 2, 3, 4, 5, *range(5, 19)]


def test_of_two_processes_that_begin_together_one_does_the_work(workspace: Any) -> None:
    values = settings(workspace, dataset_prepared_path=str(workspace.folder / "prepared"))
    both = [started(workspace, values, rows=1) for _ in range(2)]
    folders = {process.communicate()[0].strip() for process in both}
    assert len(folders) == 1
    assert {file.name for file in (workspace.folder / "prepared").iterdir()} == {Path(folders.pop()).name}


def test_a_worker_that_is_killed_is_named_and_what_is_done_is_kept(
    workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "_MOST_ROWS", 10)
    (workspace.folder / "deadly.py").write_text(
        "import os, signal\n"
        "def read(row, cfg):\n"
        f"    spared = os.getpid() == {os.getpid()} or os.path.exists('{workspace.folder}/lived')\n"
        "    if row.origin.row == 45 and not spared:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return row.values\n",
        encoding="utf-8",
    )
    function = f"{workspace.folder / 'deadly.py'}:read"
    values = settings(workspace, dataset_num_proc=2, dataset_prepared_path=str(workspace.folder / "prepared"))
    values["datasets"] = [{**each, "type": "custom", "format_function": function} for each in values["datasets"]]
    cfg = workspace.config(**values)
    with pytest.raises(DataError, match=r"a worker process was killed(.|\n)*dataset_num_proc"):
        prepare(cfg)
    assert list((workspace.folder / "prepared").glob(".*/shard-*.json"))
    (workspace.folder / "lived").touch()
    assert prepare(cfg).manifest.splits["train"].rows_in > 0


def test_workers_end_with_the_process_that_feeds_them(workspace: Any) -> None:
    file = chats(workspace, "a.jsonl", 4000)
    values = settings(workspace, datasets=[{"path": str(file)}], dataset_num_proc=2)
    values["dataset_prepared_path"] = str(workspace.folder / "prepared")
    process = started(workspace, values, rows=50)
    while not list((workspace.folder / "prepared").glob(".*/shard-*.json")):
        assert process.poll() is None
        time.sleep(0.01)
    children = _children(process.pid)
    assert children
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def _children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=True)
    return [int(each) for each in found.stdout.split()]


def test_the_first_bad_row_is_the_one_that_is_named_whoever_finds_it(
    workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block, "_MOST_ROWS", 5)
    values = settings(workspace, dataset_num_proc=3, on_bad_row="error")
    with pytest.raises(DataError, match=r"a\.jsonl:1: .*nothing_to_train") as caught:
        prepare(workspace.config(**values))
    assert caught.value.where.endswith("a.jsonl:1")
    assert not list((workspace.folder / "prepared").glob(".*/shard-*")), "what is refused is not kept"


@pytest.mark.parametrize("number", [0, 3])
def test_a_damaged_shard_is_named(workspace: Any, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(block, "_MOST_ROWS", 40)
    prepared = prepare(workspace.config(**settings(workspace, dataset_prepared_path=str(workspace.folder / "p"))))
    file = prepared.folder / f"shard-{number:05d}.arrow"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match="prepared data is damaged") as caught:
        list(prepare(workspace.config(**settings(workspace, dataset_prepared_path=str(workspace.folder / "p")))).train)
    assert file.name in caught.value.where


def test_blocks_of_long_rows_end_early(workspace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "_MOST_CHARACTERS", 5000)
    file = workspace.rows("a.jsonl", [{"text": "x" * (1000 if number < 20 else 10)} for number in range(60)])
    cfg = workspace.config(datasets=[{"path": str(file), "type": "completion"}])
    blocks = list(block.read_blocks(cfg))
    assert [len(each.rows) for each in blocks] == [5, 5, 5, 5, 40]
    rows = [row for each in blocks for row in each.rows]
    assert rows == list(read_rows(DatasetConfig(path=str(file), type="completion")))


def test_an_account_is_read_as_it_was_written(workspace: Any) -> None:
    folder = prepare(workspace.config(**settings(workspace))).folder
    manifest = read_manifest(folder)
    assert manifest is not None
    assert sorted(manifest.shards) == sorted(file.name for file in folder.glob("shard-*.arrow"))
    assert manifest.shards == {name: digests(folder)[name] for name in manifest.shards}
    assert read_shard_info(work_folder(folder), 0) is None


@pytest.mark.parametrize(
    "error",
    [
        DataError("what", where="where", fix="fix"),
        TrainingError("what", fix="fix"),
        ConfigError([]),
        ContractError("what"),
    ],
)
def test_errors_cross_process_borders_whole(error: SftError) -> None:
    from multiprocessing.reduction import ForkingPickler
    from pickle import loads

    again = loads(bytes(ForkingPickler.dumps(error)))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__
