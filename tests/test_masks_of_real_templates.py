"""Masks of real tokenizers and chat templates equal references that were written by hand, renderer by renderer.

The material is not shipped with the project: it is expected beside the checkout in ../shared/material.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from sft_data import prepare
from sft_data.pipeline import Pipeline
from sft_data.row import Row, RowError
from sft_data.tokenizer import load_tokenizer
from sft_schema import IGNORE_INDEX, parse_config
from sft_schema.record import RowOrigin

MATERIAL = Path(__file__).parents[2] / "shared" / "material"
FAMILIES = ("qwen3", "llama3.1", "mistral-v3", "phi-3.5-mini", "gemma2-fmt")

# The reference was rendered before transformers handed a message's `thinking` to templates as `reasoning_content`.
OLDER_RENDER = {("qwen3", "think_key_thinking")}

pytestmark = pytest.mark.skipif(not MATERIAL.is_dir(), reason="no ../shared/material beside the checkout")


def pipeline_of(family: str) -> tuple[Pipeline, Any]:
    values = {
        "base_model": str(MATERIAL / "tokenizers" / family),
        "datasets": [{"path": "memory"}],
        "learning_rate": 1e-4,
        "special_tokens_in_content": "allow",
    }
    cfg = parse_config(json.dumps(values))
    return Pipeline(cfg, load_tokenizer(cfg)), cfg.datasets[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_and_masks_equal_the_reference(family: str) -> None:
    pipeline, dataset = pipeline_of(family)
    cases = json.loads((MATERIAL / "oracle" / f"{family}.json").read_text(encoding="utf-8"))
    equal = refused = 0
    for case in cases:
        if (family, case["conversation"]) in OLDER_RENDER:
            continue
        row = Row({"messages": case["messages"], "tools": case["tools"]}, RowOrigin("memory", 0, case["conversation"]))
        try:
            masked = pipeline.masked_row(row, dataset)
        except RowError as error:
            if case["mask"] is not None and any(case["mask"]):
                pytest.fail(f"{case['conversation']} has a reference mask, but was refused: {error}")
            refused += 1
            continue
        assert masked.rendered.text == case["rendered"], case["conversation"]
        assert masked.encoded.ids.tolist() == case["input_ids"], case["conversation"]
        trained = (masked.labels != IGNORE_INDEX).astype(int).tolist()
        # prompt, assistant text and stop token decide; separators and newlines are matters of policy
        judged = [index for index, kind in enumerate(case["classes"]) if kind in "pte"]
        wanted = [case["mask"][index] for index in judged]
        assert [trained[index] for index in judged] == wanted, case["conversation"]
        equal += 1
    assert equal + refused + len([key for key in OLDER_RENDER if key[0] == family]) == len(cases)
    assert equal >= 30


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
