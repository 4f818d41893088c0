"""The promises of examples and of the account of a preparation."""

from __future__ import annotations

from sft_schema.check.record import check_labels, check_weights
from sft_schema.constants import RECORDS_VERSION
from sft_schema.errors import ContractError
from sft_schema.record import Conversation, Example, Manifest, Tokens


def check_example(example: Example) -> None:
    """A conversation has messages; segments are there, and each names its column; tokens have labels."""
    if isinstance(example, Conversation):
        if not example.messages:
            raise ContractError("a conversation without messages")
        return
    if isinstance(example, Tokens):
        if not example.input_ids:
            raise ContractError("an example without tokens")
        check_labels(example.input_ids, example.labels, "tokens")
        check_weights(example.weights or None, example.labels, "tokens")
        return
    if not example.segments:
        raise ContractError("an example without segments")
    for index, segment in enumerate(example.segments):
        if not segment.field:
            raise ContractError(f"segment {index} does not say which column it came from")


def check_manifest(manifest: Manifest) -> None:
    """Rows add up in every split, counts fit one another, and the records are of this version."""
    if manifest.records_version != RECORDS_VERSION:
        raise ContractError(f"records of version {manifest.records_version}; this program writes {RECORDS_VERSION}")
    if not manifest.fingerprint or "train" not in manifest.splits:
        raise ContractError(f"no fingerprint, or no train split among {sorted(manifest.splits)}")
    for name, counts in manifest.splits.items():
        counts.check()
        numbers = counts.model_dump(exclude={"dropped", "dropped_tokens", "datasets"}).values()
        smallest = min(*numbers, *counts.dropped.values(), *counts.dropped_tokens.values(), 0)
        if smallest < 0:
            raise ContractError(f"{name}: a count is {smallest}")
        if not counts.trained_tokens <= counts.tokens or counts.longest > counts.tokens:
            message = f"{counts.trained_tokens} trained and {counts.longest} in the longest sample"
            raise ContractError(f"{name}: {message}, of {counts.tokens} tokens in all")
        if counts.cut_rows > counts.rows_out or (counts.cut_rows == 0) != (counts.cut_tokens == 0):
            message = f"{counts.cut_rows} rows cut by {counts.cut_tokens} tokens"
            raise ContractError(f"{name}: {message}, of {counts.rows_out} rows in all")
