"""What `sft doctor` finds out about versions, memory, disk and the hub."""

from __future__ import annotations

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_cli.installed import Installed, installed_libraries, own_versions
from sft_cli.surroundings import ask_hub, free_disk, room


@pytest.fixture
def server() -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if self.path == "/slow":
                time.sleep(3)
            self.send_response(503 if self.path == "/broken" else 401 if self.path == "/closed" else 200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as running:
        Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(
    ("path", "reached", "said"),
    [("/", True, "answers (200)"), ("/closed", True, "answers (401)"), ("/broken", False, "answers (503)")],
)
def test_the_hub_is_asked_once(path: str, reached: bool, said: str, server: str) -> None:
    found = ask_hub(server + path, offline=False, token=True, timeout=5)
    assert (found.reached, found.answer, found.token) == (reached, said, True)


def test_a_silent_hub_is_waited_for_no_longer_than_asked(server: str) -> None:
    found = ask_hub(f"{server}/slow", offline=False, token=False, timeout=0.2)
    assert not found.reached
    assert found.answer.startswith("out of reach")
    assert found.seconds < 1


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "no address"])
def test_what_is_out_of_reach_is_said_and_no_error(address: str) -> None:
    found = ask_hub(address, offline=False, token=False, timeout=5)
    assert (found.reached, found.answer[:12]) == (False, "out of reach")


def test_offline_asks_nobody(server: str) -> None:
    assert "not asked" in ask_hub(server, offline=True, token=False, timeout=5).answer


def test_memory_cores_and_disk_are_this_machine_s(tmp_path: Path) -> None:
    seen = room()
    assert 0 < seen.free <= seen.gigabytes
    assert seen.cores >= 1
    assert free_disk(tmp_path / "not" / "there") == pytest.approx(free_disk(tmp_path), rel=0.05)


@pytest.mark.parametrize(
    ("library", "problem"),
    [
        (Installed("a", "2.0", "1.9"), None),
        (Installed("a", "1.10.1", "1.9"), None),
        (Installed("a", "1.8+cu130", "1.9"), "older than 1.9"),
        (Installed("a", None, "1.9"), "not installed"),
        (Installed("a", None, "1.9", extra="b[a]"), None),
        (Installed("a", "1.0", "1.9", extra="b[a]"), "older than 1.9"),
        (Installed("a", "2.0", None, "2"), "not older than 2"),
    ],
)
def test_a_version_is_held_against_its_bounds(library: Installed, problem: str | None) -> None:
    assert problem in (library.problem or "") if problem else library.problem is None


@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_versions_are_ordered_as_numbers(one: list[int], two: list[int]) -> None:
    installed, floor = (".".join(map(str, each)) for each in (one, two))
    assert (Installed("a", installed, floor).problem is None) == (one >= two)


def test_what_the_packages_declare_is_installed_here() -> None:
    found = {each.name: each for each in installed_libraries()}
    assert found["torch"].floor == "2.11"
    assert found["pydantic"].version
    assert found["deepspeed"].extra == "sft-train[deepspeed]"
    assert not [each.problem for each in found.values() if each.problem]
    assert all(own_versions().values())
