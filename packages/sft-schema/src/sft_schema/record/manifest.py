"""What a preparation did, in numbers that add up."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from sft_schema.constants import RECORDS_VERSION
from sft_schema.errors import ContractError


class SplitCounts(BaseModel):
    """Rows and tokens of one split, or of one data set of it. Nothing is left out, see `check`.

    A row has tokens once it is rendered and encoded: rows that are set aside before count as rows alone.

    Attributes:
        rows_in: rows read.
        expanded: samples beyond the first that rows became, by `expand_turns` or `excess_length_strategy: split`.
        rows_out: samples kept, each counted once.
        dropped: rows set aside, by reason.
        tokens: tokens of the samples as they are trained on, repeated ones included.
        trained_tokens: of these, trained; the others are masked.
        cut_rows: rows of which `excess_length_strategy` cut something.
        cut_tokens: tokens lost by cutting.
        longest: tokens of the longest sample kept.
        tokens_in: tokens of all encoded rows.
        dropped_tokens: tokens of dropped samples, by reason.
        repeated: further times that samples come in an epoch, by `mix_strategy: interleave_over`.
        repeated_tokens: tokens of these.
        overlap: held-out samples that are trained on too and were kept.
        datasets: the same for each data set, by its path; empty for a data set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_in: int = 0
    expanded: int = 0
    rows_out: int = 0
    dropped: dict[str, int] = {}
    tokens: int = 0
    trained_tokens: int = 0
    cut_rows: int = 0
    cut_tokens: int = 0
    longest: int = 0
    tokens_in: int = 0
    dropped_tokens: dict[str, int] = {}
    repeated: int = 0
    repeated_tokens: int = 0
    overlap: int = 0
    datasets: dict[str, SplitCounts] = {}

    def check(self) -> None:
        """Raises ContractError when rows or tokens are missing from the account."""
        if self.rows_in + self.expanded != self.rows_out + sum(self.dropped.values()):
            came = f"{self.rows_in} in, {self.expanded} made of them"
            raise ContractError(f"rows do not add up: {came}, {self.rows_out} out, dropped {self.dropped}")
        left = self.tokens - self.repeated_tokens + self.cut_tokens + sum(self.dropped_tokens.values())
        if self.tokens_in and self.tokens_in != left:
            raise ContractError(f"tokens do not add up: {self.tokens_in} in, {left} kept, cut or dropped")
        for each in self.datasets.values():
            each.check()
        if self.datasets and sum(each.rows_in for each in self.datasets.values()) != self.rows_in:
            raise ContractError(f"{self.rows_in} rows are not those of the data sets {sorted(self.datasets)}")


class Manifest(BaseModel):
    """Written beside the prepared data as manifest.json.

    Attributes:
        records_version: version of the record layout.
        fingerprint: hash over everything that decides the tokens: data files, tokenizer, template, settings.
        versions: package versions that made it.
        stop_tokens: the tokens that end a trained turn.
        splits: counts of `train` and `eval`.
        shards: SHA-256 of each file of samples, by its name.
        engines: rows encoded by each engine, `tokenizers` or `tiktoken`; their tokens are the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    records_version: int = RECORDS_VERSION
    fingerprint: str
    versions: dict[str, str]
    stop_tokens: tuple[str, ...]
    splits: dict[str, SplitCounts]
    shards: dict[str, str] = {}
    engines: dict[str, int] = {}
