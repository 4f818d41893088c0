"""What the config says about duplicates, over all data sets of a split."""

from __future__ import annotations

from sft_data.duplicate.exact import SeenSamples
from sft_data.duplicate.near import SeenWords, words_of
from sft_data.row import Row
from sft_schema import SftConfig
from sft_schema.config import DatasetConfig
from sft_schema.record import TokenizedSample


class Duplicates:
    """The samples and rows of a split that came before.

    Args:
        cfg: `dataset_exact_deduplication` and `dataset_near_deduplication`.
    """

    def __init__(self, cfg: SftConfig) -> None:
        near = cfg.dataset_near_deduplication
        self._samples = SeenSamples() if cfg.dataset_exact_deduplication else None
        self._words = None if near is None else SeenWords(near)

    def twin_of(self, sample: TokenizedSample, row: Row, dataset: DatasetConfig) -> tuple[str, str] | None:
        """Reason and detail when the sample is to be dropped; otherwise it is remembered, if anything is."""
        if self._samples is not None and (twin := self._samples.twin(sample)):
            return "duplicate", f"the same tokens and labels as {twin}"
        if self._words is None:
            return None
        found = self._words.twin(list(words_of(row.values, dataset.field_tools)), row.origin.place)
        return found and ("near_duplicate", f"{found[1]:.0%} of its five-word sequences are those of {found[0]}")
