"""The conformance kit, turned on this project's own formats, packer, source and attention."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings

from sft_data import plan_packs, prepare
from sft_data.format import FORMATS
from sft_data.row import Row
from sft_data.source import read_rows
from sft_kernels import flash_attn_varlen_func
from sft_schema import BACKENDS, AttentionBackend, parse_config
from sft_schema.check import check_manifest
from sft_schema.config import DatasetConfig, PackingSection
from sft_schema.record import Conversation, PackPlan, RowOrigin
from sft_schema.testing import AttentionCase, check_attention_backend, check_format, check_packer, check_source
from sft_schema.testing.attention_case import Vectors
from sft_schema.testing.strategies import chat_rows
from sft_train.testing import tiny_model, write_conversations

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 2}}}
CHATS = [
    {"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]},
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "2+2?"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "4", "tool_call_id": "c1"},
            {"role": "assistant", "content": "4", "thinking": "easy"},
        ],
        "tools": [{"type": "function", "function": {"name": "add", "parameters": {}}}],
    },
    {"messages": json.dumps([{"role": "user", "content": "hello"}])},
]
MAPPED = DatasetConfig(path="x", field_messages="turns", message_property_mappings={"role": "from", "content": "value"})
ROWS: dict[str, list[dict[str, Any]]] = {
    "chat_template": CHATS,
    "alpaca": [
        {"instruction": "Add.", "input": "2 and 2", "output": "4"},
        {"instruction": "Say hello.", "output": "hello"},
    ],
    "tokenized": [{"input_ids": [5, 6, 7, 0], "labels": [-100, 6, 7, -100], "attention_mask": [1, 1, 1, 0]}],
    "completion": [{"text": "Once upon a time."}],
    "input_output": [{"segments": [{"label": False, "text": "<s>2 and 2"}, {"label": True, "text": "4</s>"}]}],
}
INSTRUCTION = {
    **dict.fromkeys(("instruction", "question", "prompt", "article", "unanswerable_question"), "Add."),
    **dict.fromkeys(("output", "response", "answer", "solution", "completion", "summary"), "4"),
    **dict.fromkeys(("message_1", "message_2", "INSTRUCTION", "RESPONSE", "category", "context"), "2 and 2"),
    "system": "Be brief.",
    "system_prompt": "Be brief.",
    "input": "2 and 2",
    "choices": ["3", "4"],
}
"""Columns of all instruction formats."""


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "custom"])  # that one is its function
def test_a_format_makes_examples_or_refuses_and_never_crashes(name: Any) -> None:
    assert check_format(FORMATS[name], ROWS.get(name, [INSTRUCTION]), DatasetConfig(path="rows.jsonl", type=name)) > 10


def test_mapped_names_change_nothing_about_it() -> None:
    turns = [{"turns": [{"from": "user", "value": "2+2?"}, {"from": "assistant", "value": "4"}]}]
    assert check_format(FORMATS["chat_template"], turns, MAPPED) > 50


@given(chat_rows(MAPPED))
@settings(max_examples=50, deadline=None)
def test_any_conversation_comes_through_the_chat_format(row: dict[str, Any]) -> None:
    example = FORMATS["chat_template"](Row(row, RowOrigin("x", 0, "x:1")), MAPPED)
    assert isinstance(example, Conversation)
    assert [each.content for each in example.messages] == [turn["value"] for turn in row["turns"]]


@pytest.mark.parametrize("strategy", ["bfd", "ffd", "spfhp", "sequential", "wrapped"])
def test_the_packer_keeps_its_contract(strategy: str) -> None:
    """All but `bfd_split`, which cuts lengths that the contract refuses."""

    def plan(lengths: Any, cfg: PackingSection, *, epoch: int, shuffle: bool) -> PackPlan:
        return plan_packs(lengths, cfg.model_copy(update={"packing_strategy": strategy}), epoch=epoch, shuffle=shuffle)

    assert check_packer(plan, array=np.asarray) > 100


def write_jsonl(folder: Path) -> Path:
    file = folder / "rows.jsonl"
    file.write_bytes(b'{"text": "a"}\n\nnot json\n[1]\n\xff\n{"text": "b"}\n')
    return file


def write_json(folder: Path) -> Path:
    file = folder / "rows.json"
    file.write_text('[{"text": "a"}, 3, {"text": "b"}]', encoding="utf-8")
    return file


def write_parquet(folder: Path) -> Path:
    file = folder / "rows.parquet"
    pq.write_table(pa.table({"text": ["a", "b", "c"]}), file)
    return file


def write_folder(folder: Path) -> Path:
    write_jsonl(folder)
    write_json(folder)
    return folder


@pytest.mark.parametrize(("write", "count"), [(write_jsonl, 5), (write_json, 3), (write_parquet, 3), (write_folder, 8)])
def test_the_source_accounts_for_every_row(tmp_path: Path, write: Callable[[Path], Path], count: int) -> None:
    cfg = DatasetConfig(path=str(write(tmp_path)), type="completion")
    missing = DatasetConfig(path=str(tmp_path / "gone.jsonl"), type="completion")
    assert check_source(read_rows, cfg, missing=missing) == count


def test_the_account_of_a_preparation_adds_up(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model", weights=False)
    data = write_conversations(tmp_path / "train.jsonl", 9)
    data.write_text(data.read_text(encoding="utf-8") + "not json\n", encoding="utf-8")
    settings = {"base_model": str(model), "datasets": [{"path": str(data)}], "learning_rate": 1e-4, "val_set_size": 2}
    settings |= {"sequence_len": 64, "excess_length_strategy": "truncate", "dataset_prepared_path": str(tmp_path / "p")}
    manifest = prepare(parse_config(json.dumps(settings))).manifest
    check_manifest(manifest)
    assert manifest.splits["train"].dropped == {"not_json": 1}
    assert manifest.splits["train"].cut_rows > 0


class Torch:
    """A function with flash-attn's signature, wrapped for the kit."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def tensors(self, case: AttentionCase) -> list[torch.Tensor]:
        return [torch.tensor(each, dtype=self.dtype, requires_grad=True) for each in (case.q, case.k, case.v)]

    def run(self, case: AttentionCase, tensors: list[torch.Tensor]) -> torch.Tensor:
        boundaries = torch.tensor(case.cu_seqlens, dtype=torch.int32)
        longest = int(boundaries.diff().max())
        return flash_attn_varlen_func(
            *tensors, boundaries, boundaries, longest, longest,
            causal=True,
            window_size=(-1 if case.window is None else case.window - 1, 0),
            softcap=case.softcap,
            sinks=None if case.sinks is None else torch.tensor(case.sinks, dtype=self.dtype),
        )  # fmt: skip

    def attend(self, case: AttentionCase) -> Vectors:
        return self.run(case, self.tensors(case)).tolist()

    def gradients(self, case: AttentionCase, d_out: Vectors) -> tuple[Vectors, Vectors, Vectors]:
        tensors = self.tensors(case)
        out = self.run(case, tensors)
        q, k, v = torch.autograd.grad(out, tensors, torch.tensor(d_out, dtype=self.dtype))
        return q.tolist(), k.tolist(), v.tolist()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_our_attention_does_what_its_row_promises(dtype: torch.dtype, tolerance: float) -> None:
    """On the CPU: SDPA per document, and the reference for softcap and sinks. Kernels are measured against these."""
    reference, row = Torch(dtype), BACKENDS["sft_varlen"]
    cases = check_attention_backend(row, reference.attend, gradients=reference.gradients, tolerance=tolerance)
    assert cases == 8


def sdpa(case: AttentionCase) -> Vectors:
    """torch's own attention with a dense block-diagonal mask, as transformers calls it."""
    q, k, v = (torch.tensor(each).transpose(0, 1)[None] for each in (case.q, case.k, case.v))
    samples = torch.repeat_interleave(torch.tensor(case.cu_seqlens).diff())
    places = torch.arange(len(samples))
    mask = (samples[:, None] == samples) & (places[:, None] >= places)
    if case.window is not None:
        mask &= places[:, None] - places < case.window
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    return out[0].transpose(0, 1).tolist()


def test_the_row_of_sdpa_is_true() -> None:
    row: AttentionBackend = BACKENDS["sdpa"]
    assert check_attention_backend(row, sdpa) == 4
