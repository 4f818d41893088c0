"""Reports how the axolotl configs of a folder load here.

uv run python tools/compat/axolotl.py DIR         counts, refused files with their reasons, the most frequent reasons
uv run python tools/compat/axolotl.py DIR --json  the same for a program

Every .yaml and .yml under DIR is loaded as it is. `loaded`: all keys are honoured. `refused`: an error that names
keys, reasons and fixes. `failed`: anything else, such as a traceback or a file that is not YAML. Files about something
else than supervised fine-tuning (preferences, rewards, classifiers...) are refused and marked `sft: false`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from sft_schema.errors import ConfigError, dotted
from sft_schema.load import load_config

NOT_A_CONFIG = frozenset(
    {"unreadable", "yaml_syntax", "too_large", "too_deep", "alias_bomb", "yaml_tag", "yaml_key", "not_a_mapping"}
)
"""Codes that speak of the text, not of a key in it."""
NOT_SFT = "not supervised fine-tuning"
SHOWN = 30


def report(folder: Path) -> dict[str, Any]:
    """The lists `loaded`, `refused` and `failed`; paths are relative to `folder`."""
    lists: dict[str, list[Any]] = {"loaded": [], "refused": [], "failed": []}
    for path in sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")]):
        name = str(path.relative_to(folder))
        outcome, entry = outcome_of(path)
        lists[outcome].append(name if outcome == "loaded" else {"file": name, **entry})
    other = sum(not entry["sft"] for entry in lists["refused"])
    return {**lists, "counts": {name: len(files) for name, files in lists.items()} | {"not_sft": other}}


def outcome_of(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        load_config(path)
    except ConfigError as error:
        broken = [str(issue) for issue in error.issues if issue.code in NOT_A_CONFIG]
        if broken:
            return "failed", {"error": "\n".join(broken)}
        reasons: dict[str, list[dict[str, Any]]] = {}
        for issue in error.issues:
            said = {"code": issue.code, "line": issue.line, "reason": issue.message, "fix": issue.fix}
            reasons.setdefault(dotted(issue.path), []).append(said)
        return "refused", {"reasons": reasons, "sft": not any(NOT_SFT in str(issue) for issue in error.issues)}
    except Exception:  # noqa: BLE001 - a traceback is what this tool looks for
        return "failed", {"error": traceback.format_exc()}
    return "loaded", {}


def frequent(refused: list[dict[str, Any]]) -> list[tuple[int, str, str]]:
    """Files that a key stopped for one and the same fix, with its first reason; the most frequent first."""
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    for entry in refused:
        stops = {
            (re.sub(r"\[\d+\]", "[]", key), said["fix"]): said["reason"]
            for key, reasons in entry["reasons"].items()
            for said in reasons
        }
        counts.update(stops.keys())
        examples = stops | examples
    return [(count, stop[0], examples[stop]) for stop, count in counts.most_common()]


def show(found: dict[str, Any]) -> None:
    for entry in found["refused"]:
        print(f"refused  {entry['file']}")
        for key, reasons in entry["reasons"].items():
            for said in reasons:
                print(f"    {said['line'] or '-'}: {key}: {said['reason']}\n        fix: {said['fix']}")
    for entry in found["failed"]:
        print(f"failed   {entry['file']}\n{entry['error']}")
    for file in found["loaded"]:
        print(f"loaded   {file}")
    print("\nmost frequent reasons, in files:")
    for count, key, example in frequent(found["refused"])[:SHOWN]:
        print(f"{count:5}  {key}: {example}")
    loaded, refused, failed, other = (found["counts"][name] for name in ("loaded", "refused", "failed", "not_sft"))
    print(f"{loaded} loaded, {refused} refused ({other} of them are not about SFT), {failed} failed")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true", help="print JSON to standard output, and nothing else there")
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder} is no folder")
    found = report(arguments.folder)
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
