from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from sft_cli.html import write_report
from sft_cli.html.report import MAX_TOKENS
from sft_cli.visible import token_text
from sft_data import InspectedRow
from sft_schema.record import InspectedToken, Manifest, RowOrigin, RunSummary

VOID = {"meta"}
CONFIG = "base_model: m\n# </pre><script>alert(2)</script>\nname: \x00\u202e\n"


class Page(HTMLParser):
    """Reads a page strictly: every element must be closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    def attribute(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.elements if name in attributes]

    def text(self) -> str:
        return "".join(text for where, text in self.texts if where != "style")


@pytest.fixture
def written(
    tmp_path: Path,
    summary: RunSummary,
    metrics: list[dict[str, float]],
    manifest: Manifest,
    row: InspectedRow,
) -> Path:
    return write_report(tmp_path, summary, metrics, manifest, row, CONFIG)


@pytest.fixture
def page(written: Path) -> Page:
    return Page(written.read_text(encoding="utf-8"))


def test_the_page_is_written_into_the_folder(written: Path, tmp_path: Path) -> None:
    assert written == tmp_path / "report.html"
    assert written.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_every_element_is_closed(page: Page) -> None:
    assert page.open == []


def test_hostile_text_becomes_no_element(page: Page) -> None:
    assert page.count("script") == 0
    assert page.count("style") == 1
    assert page.count("img") == 0
    assert {name for _, attributes in page.elements for name in attributes if name.startswith("on")} == set()


def test_no_control_or_direction_character_is_in_the_file(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    assert not set(text) & set("\x00\x07\x1b\x7f\r\u202e\u202c\u2028\u2029\ufeff")


def test_every_token_is_shown_exactly_with_its_mask(page: Page, row: InspectedRow) -> None:
    shown = [
        (tag == "mark", attributes["title"])
        for tag, attributes in page.elements
        if "title" in attributes and attributes.get("class", "").split()[0] == "t"
    ]
    assert [trained for trained, _ in shown] == [token.trained for token in row.tokens]
    assert all(title.startswith(f"token {token.id} · ") for (_, title), token in zip(shown, row.tokens, strict=True))
    for token in row.tokens:
        assert token_text(token.text) in page.text()


def test_a_tokens_tooltip_says_message_field_and_mask(page: Page) -> None:
    titles = page.attribute("title")
    assert "token 1 · message 0 system · role · masked" in titles
    assert "token 0 · template · masked" in titles
    assert "token 18 · message 2 assistant · end_of_turn · trained" in titles


def test_the_table_of_tokens_needs_no_mouse(page: Page, row: InspectedRow) -> None:
    cells = [text for where, text in page.texts if where == "td"]
    assert cells.count("yes") == sum(token.trained for token in row.tokens)
    assert cells.count("no") == sum(not token.trained for token in row.tokens)


def test_nothing_is_loaded_from_elsewhere(page: Page, written: Path) -> None:
    assert page.attribute("src") == []
    assert all(link.startswith("#") for link in page.attribute("href"))
    assert not {tag for tag, _ in page.elements} & {"link", "iframe", "object", "embed", "base", "form", "img"}
    assert "default-src 'none'" in written.read_text(encoding="utf-8")


def test_links_and_labels_point_at_ids_that_are_there_once(page: Page) -> None:
    ids = Counter(page.attribute("id"))
    assert set(ids.values()) == {1}
    targets = [link[1:] for link in page.attribute("href")]
    targets += [name for labels in page.attribute("aria-labelledby") for name in labels.split()]
    assert set(targets) <= ids.keys()


def test_headings_skip_no_level(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_scrolling_region_can_be_reached_by_keyboard_and_has_a_name(page: Page) -> None:
    regions = [attributes for _, attributes in page.elements if "scroll" in attributes.get("class", "").split()]
    assert len(regions) >= 4
    for attributes in regions:
        assert attributes["tabindex"] == "0"
        assert attributes["role"] == "region"
        assert attributes.get("aria-label") or attributes.get("aria-labelledby")


def test_curves_have_axes_points_and_a_text_for_those_who_do_not_see_them(page: Page) -> None:
    text = page.text()
    assert "Loss per trained token: training loss goes from 3.7 at step 1" in text
    assert "held-out loss goes from 3.25 at step 0 to 0.5 at step 100" in text
    assert "step 100: held-out loss 0.5" in text
    assert "step 1: Learning rate" in text
    assert "optimizer step" in text
    assert len(re.findall(r"step \d+: training loss ", text)) == 99, "one of a hundred is not a number"


def test_figures_answers_and_account_are_on_the_page(page: Page) -> None:
    text = re.sub(r"\s+", " ", page.text())
    for part in (
        "before 0.0% → after 87.5%",
        "before 3.2500 → after 0.5000",
        "1,000 of 4,000",
        "✓exact: 4",
        "✗different: <script>x</script>",
        "not generated",
        "(empty)",
        "dropped: <i>odd</i>",
        "12,500 (25.0%)",
        "0123abcd",
        "# </pre><script>alert(2)</script>",
    ):
        assert part in text, part


def test_a_bare_run_has_no_empty_sections(tmp_path: Path, manifest: Manifest) -> None:
    summary = RunSummary(
        steps=1, epochs=1, tokens=1, trained_tokens=1, trainable_parameters=1, parameters=1, seconds=1, train_seconds=1
    )
    page = Page(write_report(tmp_path, summary, [], manifest, None, "").read_text(encoding="utf-8"))
    headings = [text for where, text in page.texts if where == "h2"]
    assert headings == ["Figures", "Data", "Config"]
    assert set(page.attribute("href")) == {"#figures", "#data", "#config"}


def test_findings_have_a_section_of_their_own_where_there_are_any(
    tmp_path: Path, summary: RunSummary, manifest: Manifest
) -> None:
    text = write_report(tmp_path, summary, [], manifest, None, "").read_text(encoding="utf-8")
    assert "Step 7: it &lt;b&gt;leaps&lt;/b&gt;" in text
    assert "<dd>lower it</dd>" in text
    well = summary.model_copy(update={"findings": ()})
    assert 'id="health"' not in write_report(tmp_path, well, [], manifest, None, "").read_text(encoding="utf-8")


def test_a_long_row_is_cut_and_the_page_says_so(tmp_path: Path, summary: RunSummary, manifest: Manifest) -> None:
    tokens = tuple(InspectedToken(7, "x", True, 0, "user", "content", 0, 1.0, "turn") for _ in range(MAX_TOKENS + 1))
    row = InspectedRow(0, tokens, (RowOrigin("d", 0, "d:1"),))
    page = Page(write_report(tmp_path, summary, [], manifest, row, "").read_text(encoding="utf-8"))
    assert sum(attributes.get("title", "").startswith("token 7") for _, attributes in page.elements) == MAX_TOKENS
    assert "The first 4,096 tokens are shown" in page.text()
    assert "4,097 tokens" in re.sub(r"\s+", " ", page.text())


def test_a_resumed_run_says_what_it_counts(tmp_path: Path, summary: RunSummary, manifest: Manifest) -> None:
    resumed = summary.model_copy(update={"resumed_from": "out/checkpoint-<7>"})
    page = Page(write_report(tmp_path, resumed, [], manifest, None, "").read_text(encoding="utf-8"))
    assert "Resumed from out/checkpoint-<7>" in page.text()
