"""Who may ask the local page's server, and what it answers."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

import pytest

from sft_cli.chat.server import ChatServer
from sft_cli.chat.speaker import Message
from sft_schema import DataError


@dataclass
class Ended:
    by: str
    tokens: int
    prompt_tokens: int = 1


class Echo:
    """Answers with what it heard, word by word; `slow` goes on until it is stopped."""

    def __init__(self) -> None:
        self.heard: list[tuple[Sequence[Message], Mapping[str, Any]]] = []
        self.stopped = Event()

    def __call__(self, messages: Sequence[Message], settings: Mapping[str, Any], stop: Event) -> Iterator[str | Ended]:
        self.heard.append((messages, settings))
        text = messages[-1]["content"]
        if text == "refuse":
            raise DataError("too long", where="the prompt", fix="shorten it")
        while text == "slow" and not stop.is_set():
            time.sleep(0.01)
            yield "more "
        if text == "slow":
            self.stopped.set()
        yield from text.split()
        yield Ended("stop", len(text.split()))


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def server(echo: Echo) -> Iterator[ChatServer]:
    with ChatServer(echo, "run </title><script>alert(1)</script>", 0) as running:
        running.patience = 0.1
        Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def ask(server: ChatServer, body: Any, **headers: str | None) -> tuple[int, str]:
    own = {
        "Content-Type": "application/json",
        "Origin": server.address.rstrip("/"),
        "X-Page-Secret": server.secret,
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    sent = body if isinstance(body, str) else json.dumps(body)
    link = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    link.request("POST", "/answer", sent, {name: value for name, value in own.items() if value is not None})
    answer = link.getresponse()
    return answer.status, answer.read().decode()


def question(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(each.removeprefix("data: ")) for each in text.split("\n\n")[:-1]]


def test_an_answer_is_streamed_as_events_with_its_end(server: ChatServer, echo: Echo) -> None:
    status, text = ask(server, question("a b") | {"temperature": 0.5, "max_new_tokens": 7, "top_p": None})
    assert status == 200
    assert events(text) == [{"text": "a"}, {"text": "b"}, {"end": "stop", "tokens": 2}]
    assert echo.heard == [([{"role": "user", "content": "a b"}], {"temperature": 0.5, "max_new_tokens": 7})]


def test_it_listens_on_this_machine_alone(server: ChatServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": None},
        {"X_Page_Secret": "guessed"},
        {"X_Page_Secret": None},
        {"Sec_Fetch_Site": "cross-site"},
    ],
)
def test_a_question_of_another_page_is_refused(headers: dict[str, Any], server: ChatServer, echo: Echo) -> None:
    assert ask(server, question("a"), **headers)[0] == 403
    assert not echo.heard


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", ""])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_name_that_was_pointed_here_is_refused(host: str, method: str, server: ChatServer, echo: Echo) -> None:
    link = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    link.request(method, "/", headers={"Host": host, "Origin": f"http://{host}", "X-Page-Secret": server.secret})
    answer = link.getresponse()
    assert answer.status == 421
    assert server.secret not in answer.read().decode()
    assert not echo.heard


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no json",
        "[]",
        {},
        {"messages": []},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "root", "content": "a"}]},
        {"messages": [{"role": "user", "content": 1}]},
        {"messages": [{"role": "assistant", "content": "a"}]},
        question("a") | {"temperature": "hot"},
        question("a") | {"temperature": -1},
        question("a") | {"max_new_tokens": 0},
        question("a") | {"top_p": True},
    ],
)
def test_what_is_no_question_is_refused(body: Any, server: ChatServer, echo: Echo) -> None:
    assert ask(server, body)[0] == 400
    assert not echo.heard


def test_a_form_of_another_site_is_no_question(server: ChatServer) -> None:
    assert ask(server, question("a"), Content_Type="text/plain")[0] == 400


def test_a_body_without_end_is_not_read(server: ChatServer) -> None:
    assert ask(server, "", Content_Length=str(1 << 40))[0] == 413


def test_what_the_model_refuses_is_said_in_the_stream(server: ChatServer) -> None:
    status, text = ask(server, question("refuse"))
    assert status == 200
    assert "too long" in events(text)[0]["error"]
    assert ask(server, question("a"))[0] == 200, "the model is free again"


def test_an_answer_stops_when_the_browser_is_gone_and_only_one_runs_at_a_time(server: ChatServer, echo: Echo) -> None:
    body = json.dumps(question("slow"))
    head = (
        f"POST /answer HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\nOrigin: {server.address.rstrip('/')}\r\n"
        f"X-Page-Secret: {server.secret}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as link:
        link.sendall((head + body).encode())
        assert link.recv(10)
        assert ask(server, question("a"))[0] == 409
    assert echo.stopped.wait(10)
    for _ in range(100):
        status, _text = ask(server, question("a"))
        if status == 200:
            return
        time.sleep(0.02)
    raise AssertionError("it stays busy")


def test_the_page_allows_itself_alone(server: ChatServer) -> None:
    link = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    link.request("GET", "/")
    answer = link.getresponse()
    page = answer.read().decode()
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.count("<script") == 1
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r"https?://(?!127\.0\.0\.1)", page)
    link.request("GET", "/other")
    assert link.getresponse().status == 404
