"""What a preparation did, in numbers that add up."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from sft_schema.constants import RECORDS_VERSION
from sft_schema.errors import ContractError


class SplitCounts(BaseModel):
    """Rows and tokens of one split. `rows_in == rows_out + sum(dropped.values())`, always.

    Attributes:
        rows_in: rows read.
        rows_out: samples kept.
        dropped: rows set aside, by reason.
        tokens: tokens kept.
        trained_tokens: of these, trained.
        cut_rows: samples cut by `excess_length_strategy: truncate`.
        cut_tokens: tokens lost by cutting.
        longest: tokens of the longest sample kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_in: int = 0
    rows_out: int = 0
    dropped: dict[str, int] = {}
    tokens: int = 0
    trained_tokens: int = 0
    cut_rows: int = 0
    cut_tokens: int = 0
    longest: int = 0

    def check(self) -> None:
        """Raises ContractError when rows are missing from the account."""
        if self.rows_in != self.rows_out + sum(self.dropped.values()):
            raise ContractError(f"rows do not add up: {self.rows_in} in, {self.rows_out} out, dropped {self.dropped}")


class Manifest(BaseModel):
    """Written beside the prepared data as manifest.json.

    Attributes:
        records_version: version of the record layout.
        fingerprint: hash over everything that decides the tokens: data files, tokenizer, template, settings.
        versions: package versions that made it.
        stop_tokens: the tokens that end a trained turn.
        splits: counts of `train` and `eval`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    records_version: int = RECORDS_VERSION
    fingerprint: str
    versions: dict[str, str]
    stop_tokens: tuple[str, ...]
    splits: dict[str, SplitCounts]
