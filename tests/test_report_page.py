"""The report as a real browser reads and draws it."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import zlib
from html import unescape
from pathlib import Path

import pytest

from sft_cli.html import write_report
from sft_cli.visible import token_text
from sft_data import InspectedRow, inspect_rows, prepare
from sft_schema import parse_config
from sft_schema.record import GeneratedAnswer, RunSummary

QUICKSTART = Path(__file__).parents[1] / "examples" / "quickstart"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
]
ATTACK = "</span></p></style><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
PAGE_COLOURS = {"light": (0xF6, 0xF7, 0xF5), "dark": (0x12, 0x16, 0x1A)}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: `apt-get install chromium` to run this")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, InspectedRow]:
    """A report of real rows, one of which attacks the page."""
    folder = tmp_path_factory.mktemp("report")
    messages = [{"role": "user", "content": ATTACK}, {"role": "assistant", "content": f"\u202e{ATTACK}\u0000"}]
    lines = [json.dumps({"messages": messages})] * 3
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = json.dumps(
        {
            "base_model": str(QUICKSTART / "base"),
            "datasets": [{"path": str(folder / "rows.jsonl")}],
            "dataset_prepared_path": str(folder / "prepared"),
            "sample_packing": True,
            "learning_rate": 1e-3,
        }
    )
    cfg = parse_config(config)
    (row,) = inspect_rows(cfg)
    summary = RunSummary(
        steps=50,
        epochs=1,
        train_loss_first=3.0,
        train_loss_last=0.1,
        exact_match_before=0.0,
        exact_match_after=0.75,
        tokens=1000,
        trained_tokens=500,
        trainable_parameters=10,
        parameters=10,
        seconds=5,
        train_seconds=4,
        samples=(GeneratedAnswer(prompt=ATTACK, wanted=ATTACK, before=ATTACK, after="no"),),
    )
    metrics = [{"step": step, "loss": 3 / step, "learning_rate": 1e-3 / step} for step in range(1, 51)]
    return write_report(folder, summary, metrics, prepare(cfg).manifest, row, config), row


def browse(profile: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.fixture(scope="module")
def dom(report: tuple[Path, InspectedRow], tmp_path_factory: pytest.TempPathFactory) -> str:
    return browse(tmp_path_factory.mktemp("profile"), "--dump-dom", report[0].as_uri()).stdout


def test_the_browser_finds_every_token_with_its_mask(dom: str, report: tuple[Path, InspectedRow]) -> None:
    _, row = report
    found = re.findall(r'<(mark|span) class="t[^"]*" title="token (\d+) [^"]*">([^<]*)</', dom)
    shown = [(tag == "mark", int(index), unescape(text)) for tag, index, text in found]
    assert shown == [(token.trained, token.id, token_text(token.text)) for token in row.tokens]


def test_an_attack_in_the_data_stays_text(dom: str, report: tuple[Path, InspectedRow]) -> None:
    assert "owned" not in re.findall(r"<title>([^<]*)</title>", dom)[0]
    assert not re.search(r"<(script|img)\b", dom)
    assert dom.count("<style>") == 1
    assert unescape(dom).count(ATTACK) == 3, "prompt, wanted and before"


def test_headings_and_sections_are_there(dom: str) -> None:
    headings = [unescape(re.sub("<[^>]*>", "", text)) for text in re.findall(r"<h2[^>]*>(.*?)</h2>", dom)]
    assert headings == [
        "Figures",
        "Curves",
        "Answers to held-out questions",
        "What the model is trained on",
        "Data",
        "Config",
    ]
    assert dom.count("<figure") == 2
    assert dom.count('role="img"') == 2


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_is_drawn_in_the_theme_of_the_reader(
    theme: str, report: tuple[Path, InspectedRow], tmp_path: Path
) -> None:
    shot = tmp_path / "page.png"
    chosen = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if theme == "dark" else []
    browse(tmp_path / "profile", *chosen, "--window-size=900,1200", f"--screenshot={shot}", report[0].as_uri())
    width, height, corner, colours = read_png(shot.read_bytes())
    assert (width, height) == (900, 1200)
    assert corner == PAGE_COLOURS[theme]
    assert colours > 50, "text and curves are drawn"


def read_png(data: bytes) -> tuple[int, int, tuple[int, ...], int]:
    """Width, height, first pixel, and how many byte values differ: enough of https://www.w3.org/TR/png-3/."""
    place, packed = 8, b""
    width = height = channels = 0
    while place < len(data):
        (length,), kind = struct.unpack(">I", data[place : place + 4]), data[place + 4 : place + 8]
        body = data[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert depth == 8
            channels = {2: 3, 6: 4}[colour]
        packed += body if kind == b"IDAT" else b""
        place += 12 + length
    pixels = zlib.decompress(packed)
    assert len(pixels) == height * (1 + width * channels)
    # Whatever filter the first line has, its first pixel stands as it is: there is nothing to its left or above.
    return width, height, tuple(pixels[1:4]), len(set(pixels))
