"""Compares masks with references, template by template.

uv run python tools/compat/masks.py DIR         the table, and every case that is not equal with its reason
uv run python tools/compat/masks.py DIR --json  the same for a program

DIR holds `tokenizers/<name>/` (tokenizer.json, tokenizer_config.json, chat_template.jinja) and `oracle/<name>.json`: a
list of {template, conversation, messages, tools, rendered, input_ids, classes, mask}. Classes are one letter per token;
only p (prompt or header), t (assistant text) and e (stop token) are judged, the others are matters of policy.

equal      text, ids and labels are those of the reference
refused    set aside with a reason, where the template itself raises, or where the reference trains nothing
different  anything else
outdated   the reference's text is not what the installed transformers renders, and ours is: nothing to compare with

The exit status is 1 when a case is different, 2 when DIR cannot be used.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from sft_data.pipeline import Masked, Pipeline
from sft_data.row import Row, RowError
from sft_data.tokenizer import load_tokenizer
from sft_schema import IGNORE_INDEX, SftError, parse_config
from sft_schema.record import RowOrigin

JUDGED = frozenset("pte")
OUTCOMES = ("equal", "refused", "different", "outdated")
SHOWN = 60


@dataclass
class Template:
    """One folder of `tokenizers`, with our pipeline and, when it is asked, transformers' tokenizer."""

    folder: Path
    pipelines: dict[str, tuple[Pipeline, Any]] = field(default_factory=dict)
    peer: Any = None

    def pipeline(self, preamble: str = "") -> tuple[Pipeline, Any]:
        """The pipeline of the tokenizer's own template, with Jinja text put before it."""
        if preamble not in self.pipelines:
            values: dict[str, Any] = {
                "base_model": str(self.folder),
                "datasets": [{"path": "memory", "type": "chat_template"}],
                "learning_rate": 1e-4,
                "special_tokens_in_content": "allow",
            }
            tokenizer = load_tokenizer(parse_config(json.dumps(values)))
            if preamble:
                own = preamble + (tokenizer.chat_template or "")
                values |= {"chat_template": "jinja", "chat_template_jinja": own}
            cfg = parse_config(json.dumps(values))
            self.pipelines[preamble] = Pipeline(cfg, load_tokenizer(cfg)), cfg.datasets[0]
        return self.pipelines[preamble]

    def masked(self, case: dict[str, Any], preamble: str = "") -> Masked:
        pipeline, dataset = self.pipeline(preamble)
        row = Row({"messages": case["messages"], "tools": case["tools"]}, RowOrigin("memory", 0, case["conversation"]))
        return pipeline.masked_row(row, dataset)

    def peer_text(self, case: dict[str, Any]) -> str:
        """What transformers renders, or the class and text of its error."""
        if self.peer is None:
            self.peer = AutoTokenizer.from_pretrained(str(self.folder))
        try:
            return self.peer.apply_chat_template(case["messages"], tools=case["tools"], tokenize=False)
        except Exception as error:  # noqa: BLE001 - a template raises what it likes
            return f"{type(error).__name__}: {error}"

    def peer_raises(self, case: dict[str, Any]) -> bool:
        return bool(re.match(r"\w*(Error|Undefined\w*): ", self.peer_text(case)))


def with_date_of(reference: str, template: Template, case: dict[str, Any]) -> Masked | None:
    """The case with the dates that the reference printed, for a template that prints today's."""
    marks = "{%- macro strftime_now(layout) -%}\x1a{{ layout }}\x1a{%- endmacro -%}"
    try:
        parts = template.masked(case, marks).rendered.text.split("\x1a")
    except RowError:
        return None
    found = re.fullmatch(
        "".join("(.+?)" if i % 2 else re.escape(part) for i, part in enumerate(parts)), reference, re.S
    )
    if found is None or len(parts) == 1:
        return None
    dates = json.dumps(dict(zip(parts[1::2], found.groups(), strict=True)))
    return template.masked(case, f"{{%- macro strftime_now(layout) -%}}{{{{ {dates}[layout] }}}}{{%- endmacro -%}}")


def judge(template: Template, case: dict[str, Any]) -> tuple[str, str]:
    """The outcome of a case, with the reason or the evidence."""
    wanted = case["mask"]
    try:
        masked = template.masked(case)
    except RowError as error:
        if wanted is None or not any(wanted):
            return "refused", str(error)
        if template.peer_raises(case):
            return "refused", f"{error}; transformers: {template.peer_text(case)}"
        return "different", f"has a reference, but was refused: {error}"
    reference = template.peer_text(case) if case["rendered"] is None else case["rendered"]
    if masked.rendered.text != reference:
        dated = with_date_of(reference, template, case)
        if dated is None:
            return other_text(template, case, masked, reference)
        masked = dated
    return ("equal", "text alone, there is no mask") if wanted is None else compare(masked, case)


def other_text(template: Template, case: dict[str, Any], masked: Masked, reference: str) -> tuple[str, str]:
    peer = template.peer_text(case)
    if masked.rendered.text == peer:
        return "outdated", f"transformers renders {difference(peer, reference)}"
    if template.peer_raises(case):
        return "different", f"transformers raises {peer}; we render {masked.rendered.text!r:.200}"
    return "different", f"text: ours has {difference(masked.rendered.text, reference)}"


def difference(ours: str, reference: str) -> str:
    """The first place where two texts differ."""
    at = next(
        (i for i, (a, b) in enumerate(zip(ours, reference, strict=False)) if a != b), min(map(len, (ours, reference)))
    )
    return f"{ours[at : at + 60]!r} at character {at}, the reference {reference[at : at + 60]!r}"


def compare(masked: Masked, case: dict[str, Any]) -> tuple[str, str]:
    ids = masked.encoded.ids.tolist()
    if ids != case["input_ids"]:
        at = next((i for i, (a, b) in enumerate(zip(ids, case["input_ids"], strict=False)) if a != b), len(ids))
        return "different", f"ids: {ids[at : at + 5]} at token {at}, the reference has {case['input_ids'][at : at + 5]}"
    trained = (masked.labels != IGNORE_INDEX).tolist()
    wrong = [i for i, kind in enumerate(case["classes"]) if kind in JUDGED and trained[i] != bool(case["mask"][i])]
    if not wrong:
        return "equal", ""
    texts = [masked.rendered.text[int(masked.encoded.starts[i]) : int(masked.encoded.ends[i])] for i in wrong[:5]]
    kinds = "".join(case["classes"][i] for i in wrong[:5])
    verb = "trains" if trained[wrong[0]] else "does not train"
    return "different", f"labels: ours {verb} {texts} (classes {kinds}), {len(wrong)} tokens in all"


def report(folder: Path) -> dict[str, Any]:
    """Counts of each template and in all, and the cases that are not equal."""
    rows: list[dict[str, Any]] = []
    notes: list[dict[str, str]] = []
    for file in sorted((folder / "oracle").glob("*.json")):
        cases = json.loads(file.read_text(encoding="utf-8"))
        counts = dict.fromkeys(OUTCOMES, 0)
        template = Template(folder / "tokenizers" / file.stem)
        for case in cases:
            outcome, why = safely(judge, template, case)
            counts[outcome] += 1
            if why:
                notes.append({"template": file.stem, "case": case["conversation"], "outcome": outcome, "why": why})
        rows.append({"template": file.stem, "cases": len(cases), **counts})
    total = {name: sum(row[name] for row in rows) for name in ("cases", *OUTCOMES)}
    return {"templates": rows, "total": total, "notes": notes}


def safely(
    act: Callable[[Template, dict[str, Any]], tuple[str, str]], template: Template, case: Any
) -> tuple[str, str]:
    """A tokenizer or template that cannot be used at all makes each of its cases different."""
    try:
        return act(template, case)
    except SftError as error:
        return "different", str(error)


def show(found: dict[str, Any]) -> None:
    columns = ("template", "cases", *OUTCOMES)
    width = max(len(row["template"]) for row in [*found["templates"], {"template": "template"}])
    print("  ".join([f"{columns[0]:{width}}", *(f"{name:>9}" for name in columns[1:])]))
    for row in [*found["templates"], {"template": "total", **found["total"]}]:
        print("  ".join([f"{row['template']:{width}}", *(f"{row[name]:>9}" for name in columns[1:])]))
    for note in sorted(found["notes"], key=lambda note: OUTCOMES[::-1].index(note["outcome"]))[:SHOWN]:
        print(f"{note['outcome']:9}  {note['template']} {note['case']}: {note['why']}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    given = parser.parse_args(arguments)
    if not any((given.folder / "oracle").glob("*.json")):
        print(f"{given.folder}: there is no oracle/*.json; see the layout with --help", file=sys.stderr)
        return 2
    found = report(given.folder)
    if given.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        show(found)
    return 1 if found["total"]["different"] else 0


if __name__ == "__main__":
    sys.exit(main())
