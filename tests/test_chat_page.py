"""The chat page in a real browser, with a real model behind it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from sft_cli.chat.server import ChatServer
from sft_cli.commands.inference import _speaker
from sft_train.answer import Answerer, Sampling, load_trained

BASE = Path(__file__).parents[1] / "examples" / "quickstart" / "base"
ATTACK = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"

_spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
assert _spec is not None
assert _spec.loader is not None
browser = importlib.util.module_from_spec(_spec)
sys.modules["browser"] = browser
_spec.loader.exec_module(browser)

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium: `apt-get install chromium` to run this")
ENTER, TAB = ("Enter", 13), ("Tab", 9)
IDLE = "document.getElementById('stop').disabled && document.getElementById('status').textContent"


@pytest.fixture(scope="module")
def answerer() -> Answerer:
    return Answerer(load_trained(BASE), Sampling(max_new_tokens=6, temperature=0))


@pytest.fixture
def page(answerer: Answerer, tmp_path: Path) -> Iterator[Any]:
    with ChatServer(_speaker(answerer), "tiny", 0) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with browser.Page(server.address, tmp_path / "profile") as opened:
            yield opened
            home = server.address
            assert set(opened.requests) <= {home, f"{home}answer", "data:,"}, "nothing else is asked for"
            assert opened.complaints == []
        server.shutdown()


def said(page: Any) -> list[str]:
    return page.js("[...document.querySelectorAll('.said')].map((each) => each.textContent)")


def test_a_message_is_answered_as_the_model_answers(page: Any, answerer: Answerer) -> None:
    page.type("What is 2 + 2?")
    page.press(*ENTER)
    page.wait(IDLE)
    (wanted,) = answerer.answers([[{"role": "user", "content": "What is 2 + 2?"}]])
    assert said(page) == ["What is 2 + 2?", wanted]
    assert "6 tokens in" in page.js("document.getElementById('status').textContent")
    page.type("And 3?")
    page.press(*ENTER)
    page.wait(f"{IDLE} && document.querySelectorAll('.said').length == 4")
    again = [*zip(("user", "assistant"), said(page)[:2], strict=True), ("user", "And 3?")]
    (wanted,) = answerer.answers([[{"role": role, "content": text} for role, text in again]])
    assert said(page)[3] == wanted, "earlier turns belong to the prompt"


def test_a_message_stays_text_and_a_long_answer_can_be_stopped_and_begun_anew(page: Any) -> None:
    page.js("document.getElementById('max_new_tokens').value = 2000")
    page.type(ATTACK)
    page.press(*ENTER)
    page.wait("!document.getElementById('stop').disabled")
    page.js("document.getElementById('stop').click()")
    page.wait(IDLE)
    assert said(page)[0] == ATTACK
    assert page.js("document.title") == "tiny · sft"
    page.js("document.getElementById('again').click()")
    assert said(page) == []
    page.js("document.getElementById('max_new_tokens').value = 2")
    page.type("Hi")
    page.press(*ENTER)
    page.wait(f"{IDLE} && document.querySelectorAll('.said').length == 2")
    assert "2 tokens in" in page.js("document.getElementById('status').textContent")


def test_it_can_be_used_by_keyboard_and_every_control_has_a_name(page: Any) -> None:
    assert page.js("document.activeElement.id") == "question"
    reached = []
    for _ in range(3):
        page.press(*TAB)
        reached.append(page.js("document.activeElement.id || document.activeElement.tagName"))
    assert reached == ["send", "again", "SUMMARY"]
    unnamed = page.js(
        "[...document.querySelectorAll('input, textarea, button')]"
        ".filter((each) => !each.textContent.trim() && !each.labels?.length).map((each) => each.id)"
    )
    assert unnamed == []
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {node["role"]["value"]: node.get("name", {}).get("value") for node in tree if not node["ignored"]}
    assert roles["log"] == "Conversation"
    assert roles["textbox"] == "Your message"
    assert roles["form"] == "Ask"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_is_drawn_in_the_theme_of_the_reader_without_scrolling_sideways(
    page: Any, dark: bool, tmp_path: Path
) -> None:
    page.screenshot(tmp_path / "chat.png", dark=dark, width=360, height=700)
    assert (tmp_path / "chat.png").stat().st_size > 5_000
    colour = page.js("getComputedStyle(document.body).backgroundColor")
    assert colour == ("rgb(18, 22, 26)" if dark else "rgb(246, 247, 245)")
    assert page.js("document.documentElement.scrollWidth <= 360")
