"""Masks of real tokenizers and chat templates equal references that were written by hand, renderer by renderer.

The material is not shipped with the project: it is expected beside the checkout in ../shared/material.
"""

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sft_data import prepare
from sft_schema import parse_config

SPEC = importlib.util.spec_from_file_location(
    "tools_masks", Path(__file__).parents[1] / "tools" / "compat" / "masks.py"
)
assert SPEC is not None
assert SPEC.loader is not None
masks = importlib.util.module_from_spec(SPEC)
sys.modules["tools_masks"] = masks
SPEC.loader.exec_module(masks)
MATERIAL = Path(__file__).parents[2] / "shared" / "material"
FAMILIES = ("qwen3", "llama3.1", "mistral-v3", "phi-3.5-mini", "gemma2-fmt")

pytestmark = pytest.mark.skipif(not MATERIAL.is_dir(), reason="no ../shared/material beside the checkout")


def report(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = masks.main([str(folder), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_tokens_and_masks_equal_the_reference(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = report(MATERIAL, capsys)
    assert (code, found["total"]["different"]) == (0, 0), found["notes"]
    assert [row["template"] for row in found["templates"]] == sorted(FAMILIES)
    assert all(row["equal"] >= 30 for row in found["templates"])
    assert all(row["cases"] == row["equal"] + row["refused"] + row["outdated"] for row in found["templates"])
    # transformers hands a message's `thinking` to templates as `reasoning_content` since this was rendered
    assert [note["case"] for note in found["notes"] if note["outcome"] == "outdated"] == ["think_key_thinking"]


@pytest.fixture
def one_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """Outcome and reason of a case of Qwen3, after something in it was changed."""
    family = "qwen3"
    (tmp_path / "tokenizers").mkdir()
    (tmp_path / "oracle").mkdir()
    (tmp_path / "tokenizers" / family).symlink_to(MATERIAL / "tokenizers" / family)
    cases = json.loads((MATERIAL / "oracle" / f"{family}.json").read_text(encoding="utf-8"))
    (case,) = [each for each in cases if each["conversation"] == "single"]

    def outcome(**changed: Any) -> tuple[str, str]:
        (tmp_path / "oracle" / f"{family}.json").write_text(json.dumps([{**case, **changed}]), encoding="utf-8")
        code, found = report(tmp_path, capsys)
        (name,) = [name for name in ("equal", "refused", "different", "outdated") if found["total"][name]]
        assert code == (name == "different")
        return name, found["notes"][0]["why"] if found["notes"] else ""

    return outcome


def test_the_report_tells_what_differs(one_case: Any) -> None:
    case = json.loads((MATERIAL / "oracle" / "qwen3.json").read_text(encoding="utf-8"))[0]
    last_text = max(index for index, kind in enumerate(case["classes"]) if kind == "t")
    mask = [*case["mask"]]
    mask[last_text] = 0
    outcome, why = one_case(mask=mask)
    assert outcome == "different"
    assert why.startswith("labels: ours trains [")
    assert one_case(input_ids=[1, *case["input_ids"][1:]])[1].startswith("ids: ")
    assert one_case(rendered="x" + case["rendered"])[0] == "outdated"
    assert one_case(messages=[{"role": "nobody", "content": "x"}])[0] == "different"
    newline = [index for index, kind in enumerate(case["classes"]) if kind == "n"]
    policy = [1 if index in newline else each for index, each in enumerate(case["mask"])]
    assert one_case(mask=policy)[0] == "equal"


def test_a_folder_of_another_layout_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert masks.main([str(tmp_path)]) == 2
    assert "no oracle/*.json" in capsys.readouterr().err


def test_a_printed_date_is_that_of_the_reference(one_case: Any, tmp_path: Path) -> None:
    folder = tmp_path / "tokenizers" / "qwen3"
    folder.unlink()
    shutil.copytree(MATERIAL / "tokenizers" / "qwen3", folder)
    template = folder / "chat_template.jinja"
    dated = "{{- 'On ' + strftime_now('%d %b %Y') + '\n' }}" + template.read_text(encoding="utf-8")
    template.write_text(dated, encoding="utf-8")
    case = json.loads((MATERIAL / "oracle" / "qwen3.json").read_text(encoding="utf-8"))[0]
    assert one_case(rendered="On 26 Jul 2024\n" + case["rendered"])[1].startswith("ids: ")  # the text is equal
    assert one_case(rendered="Off 26 Jul 2024\n" + case["rendered"])[0] == "outdated"


@pytest.mark.parametrize("family", FAMILIES)
def test_real_conversations_go_through_with_full_accounting(family: str, tmp_path: Path) -> None:
    cfg = parse_config(
        json.dumps(
            {
                "base_model": str(MATERIAL / "tokenizers" / family),
                "datasets": [{"path": str(MATERIAL / "data" / "oasst_en_100_trees.jsonl")}],
                "learning_rate": 1e-4,
                "sequence_len": 8192,
                "dataset_prepared_path": str(tmp_path),
            }
        )
    )
    counts = prepare(cfg).manifest.splits["train"]
    assert counts.rows_in == 564
    assert counts.rows_out + sum(counts.dropped.values()) == 564
    assert counts.rows_out >= 560
    assert 0 < counts.trained_tokens < counts.tokens
