"""A page on this machine alone, to chat with a model in the browser. The standard library serves it.

Who may ask: a browser on this machine whose page came from here. The socket listens on 127.0.0.1. Requests must name
this address as Host, or a name of somebody else's could be pointed here (DNS rebinding). A question must come from this
page's Origin and carry the page's secret in a header, which no other site can read or send (OWASP's cheat sheet on
CSRF). Any other user of this machine can open the page as well.

    GET  /         the page
    POST /answer   {"messages": [...], "temperature": ..., "top_p": ..., "max_new_tokens": ..., "system": ...}
                   -> text/event-stream: {"text": ...} ..., then {"end": ..., "tokens": ...} or {"error": ...}
"""

from __future__ import annotations

import json
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock
from typing import Any, cast

from sft_cli.chat.page import chat_page
from sft_cli.chat.speaker import Message, Speaker
from sft_cli.visible import visible
from sft_schema import DataError

ADDRESS = "127.0.0.1"
_LONGEST_BODY = 4 << 20
_SECRET = "X-Page-Secret"
_RANGES = {"temperature": (0.0, 5.0), "top_p": (0.01, 1.0), "max_new_tokens": (1, 1 << 20)}


class ChatServer(ThreadingHTTPServer):
    """Serves the page until it is shut down.

    Args:
        speaker: the model. One answer at a time: a second question waits for `patience` seconds, and is refused.
        name: what the page calls the model.
        port: 0 takes a free one; see `server_port`.
        remembers: see `sft_cli.chat.terminal.Chat`.

    Raises:
        OSError: the port is taken.
    """

    daemon_threads = True
    patience = 5.0

    def __init__(self, speaker: Speaker, name: str, port: int, *, remembers: bool = True) -> None:
        super().__init__((ADDRESS, port), _Handler)
        self.speaker, self.busy = speaker, Lock()
        self.secret = secrets.token_urlsafe(32)
        self.page, self.policy = chat_page(visible(name), self.secret, remembers=remembers)

    @property
    def address(self) -> str:
        """What to open in the browser."""
        return f"http://{ADDRESS}:{self.server_port}/"

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names under which the browser may know this server."""
        return tuple(f"{name}:{self.server_port}" for name in (ADDRESS, "localhost"))


class _RefusedError(Exception):
    """A request that gets no answer."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        self.status, self.why = status, why
        super().__init__(why)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server_version, sys_version = "sft", ""
    timeout = 60

    @property
    def _chat(self) -> ChatServer:
        return cast(ChatServer, self.server)

    def do_GET(self) -> None:
        """The page."""
        try:
            self._require_host()
            if self.path.partition("?")[0] != "/":
                raise _RefusedError(HTTPStatus.NOT_FOUND, "there is one page, /")
        except _RefusedError as refused:
            self._refuse(refused)
            return
        body = self._chat.page.encode()
        self._head(HTTPStatus.OK, "text/html; charset=utf-8", len(body))
        self.wfile.write(body)

    def do_POST(self) -> None:
        """An answer."""
        try:
            self._require_host()
            self._require_own_page()
            messages, settings = self._question()
            if not self._chat.busy.acquire(timeout=self._chat.patience):
                raise _RefusedError(HTTPStatus.CONFLICT, "the model is answering another question; stop that first")
        except _RefusedError as refused:
            self._refuse(refused)
            return
        try:
            self._head(HTTPStatus.OK, "text/event-stream", None)
            self._stream(messages, settings)
        finally:
            self._chat.busy.release()

    def _stream(self, messages: list[Message], settings: dict[str, Any]) -> None:
        """Events until the answer ends, or the browser is gone: then the model stops too."""
        stop = Event()
        stream = self._chat.speaker(messages, settings, stop)
        try:
            for piece in stream:
                self._event({"text": piece} if isinstance(piece, str) else {"end": piece.by, "tokens": piece.tokens})
        except (BrokenPipeError, ConnectionResetError):
            stop.set()
            for _ in stream:  # so that the next question finds the model at rest
                pass
        except DataError as error:
            self._event({"error": str(error)})

    def _event(self, value: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(value)}\n\n".encode())
        self.wfile.flush()

    def _require_host(self) -> None:
        if self.headers.get("Host") not in self._chat.hosts:
            raise _RefusedError(HTTPStatus.MISDIRECTED_REQUEST, f"open {self._chat.address}")

    def _require_own_page(self) -> None:
        own = {f"http://{host}" for host in self._chat.hosts}
        secret = self.headers.get(_SECRET, "").encode()
        if self.path != "/answer":
            raise _RefusedError(HTTPStatus.NOT_FOUND, "questions go to /answer")
        if self.headers.get("Origin") not in own or self.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            raise _RefusedError(HTTPStatus.FORBIDDEN, "the question does not come from this server's page")
        if not secrets.compare_digest(secret, self._chat.secret.encode()):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "the page is of an earlier server; load it again")

    def _question(self) -> tuple[list[Message], dict[str, Any]]:
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != "application/json" or not length.isdigit():
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "a question is JSON, with its length")
        if int(length) > _LONGEST_BODY:
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a question has up to {_LONGEST_BODY} bytes")
        try:
            asked = json.loads(self.rfile.read(int(length)))
            return _messages(asked), _settings(asked)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, f"not a question: {error}") from None

    def _refuse(self, refused: _RefusedError) -> None:
        body = json.dumps({"error": refused.why}).encode()
        self._head(refused.status, "application/json", len(body))
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, length: int | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Content-Security-Policy", self._chat.policy)
        for name, value in (
            ("Cache-Control", "no-store"),
            ("Connection", "close"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is the user's."""


def _messages(asked: dict[str, Any]) -> list[Message]:
    found: list[Message] = []
    for message in asked["messages"]:
        role, content = message["role"], message["content"]
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            raise ValueError("a message has a role and a text")
        found.append({"role": role, "content": content})
    if not found or found[-1]["role"] != "user":
        raise ValueError("the last message is the user's")
    return found


def _settings(asked: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (low, high) in _RANGES.items():
        value = asked.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"{name} is {value!r}, not a number from {low} to {high}")
        found[name] = int(value) if name == "max_new_tokens" else float(value)
    return found
