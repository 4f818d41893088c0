"""Plain text as in pretraining: what begins it, what ends it, and what becomes of long documents."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, processors

from sft_data import inspect_rows, prepare
from sft_schema import IGNORE_INDEX

TEXT = "first question first answer"
LONG = " ".join(["numbers 0 1 2 3 4 5 6 7 8 9 and apples"] * 20)


def completion(workspace: Any, row: dict[str, str], **settings: Any) -> Any:
    entry = {"path": str(workspace.rows("a.jsonl", [row])), "type": "completion"}
    if "text" not in row:
        entry["field"] = next(iter(row))
    return workspace.config(datasets=[entry], **settings)


def shown(workspace: Any, cfg: Any) -> str:
    (row,) = inspect_rows(cfg)
    return workspace.marked(row.tokens)


def test_a_text_ends_with_one_end_token_and_is_trained_from_its_second_token(workspace: Any) -> None:
    (sample,) = prepare(completion(workspace, {"text": TEXT})).train
    eos = Tokenizer.from_file(str(workspace.tokenizer / "tokenizer.json")).token_to_id("<|im_end|>")
    assert sample.input_ids.tolist().count(eos) == 1
    assert sample.labels.tolist() == sample.input_ids.tolist()
    assert sample.labels[-1] == eos


def test_the_text_may_be_in_another_column(workspace: Any) -> None:
    same = prepare(completion(workspace, {"text": TEXT})).train[0].input_ids.tolist()
    assert prepare(completion(workspace, {"body": TEXT})).train[0].input_ids.tolist() == same


def test_the_begin_token_is_there_once_where_the_tokenizer_adds_it(workspace: Any) -> None:
    workspace.use_template(None, bos_token="<s>")
    file = str(workspace.tokenizer / "tokenizer.json")
    tokenizer = Tokenizer.from_file(file)
    begin = ("<s>", tokenizer.token_to_id("<s>"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[begin])
    tokenizer.save(file)
    assert shown(workspace, completion(workspace, {"text": TEXT})) == f"<s>«{TEXT}<|im_end|>»"


def test_a_long_document_becomes_pieces_that_are_the_whole_document(workspace: Any) -> None:
    (whole,) = prepare(completion(workspace, {"text": LONG}, sequence_len=4096)).train
    cfg = completion(workspace, {"text": LONG}, sequence_len=64, excess_length_strategy="split")
    pieces = list(prepare(cfg).train)
    assert len(pieces) > 1
    assert max(len(each.input_ids) for each in pieces) <= 64
    assert [token for each in pieces for token in each.input_ids.tolist()] == whole.input_ids.tolist()
    assert all((each.labels[1:] != IGNORE_INDEX).all() for each in pieces)
