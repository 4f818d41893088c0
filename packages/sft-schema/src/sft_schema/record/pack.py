"""How samples share rows, and the rows themselves.

Three samples of 5, 3 and 4 tokens in rows of 8:

    row 0    a a a a a b b b      cu_seqlens [0, 5, 8]   position_ids 0 1 2 3 4 0 1 2
    row 1    c c c c              cu_seqlens [0, 4]      position_ids 0 1 2 3

`cu_seqlens` is the truth about boundaries; `position_ids` is derived from it. The label of each sample's
first token is IGNORE_INDEX: labels are shifted by one later, and without that the last token of `a` would be
trained to predict the first of `b`.

A plan that cuts samples holds pieces. The same samples joined as a, c, b and cut at 8 tokens:

    row 0    a a a a a c c c    pieces (a, 0, 5) (c, 0, 3)
    row 1    c b b b            pieces (c, 3, 4) (b, 0, 3)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sft_schema.record.token import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class PackPlan:
    """Which samples share a row.

    Attributes:
        samples: int64 `[n]`: sample indices, row after row; that of each piece where samples are cut.
        row_offsets: int64 `[rows + 1]`: row r holds `samples[row_offsets[r] : row_offsets[r + 1]]`.
        tokens: tokens in all samples.
        sequence_len: longest row, in tokens.
        pieces: None where samples are whole; else int64 `[n, 3]`: sample, its first token and one past its last.
    """

    samples: IntArray
    row_offsets: IntArray
    tokens: int
    sequence_len: int
    pieces: IntArray | None = None

    def __len__(self) -> int:
        return len(self.row_offsets) - 1

    def row(self, index: int) -> IntArray:
        """What one row holds: sample indices, int64 `[k]`; pieces, int64 `[k, 3]`, where the plan has them."""
        held = self.samples if self.pieces is None else self.pieces
        return held[self.row_offsets[index] : self.row_offsets[index + 1]]

    @property
    def cuts(self) -> int:
        """Pieces that begin inside a sample: so many tokens can lose their label."""
        return 0 if self.pieces is None else int((self.pieces[:, 1] > 0).sum())

    @property
    def efficiency(self) -> float:
        """Part of the rows' capacity that holds tokens, 0 to 1."""
        return self.tokens / (len(self) * self.sequence_len) if len(self) else 1.0


@dataclass(frozen=True, slots=True)
class PackedRow:
    """One row of one or more samples.

    Attributes:
        input_ids: int32 `[n]`.
        labels: int32 `[n]`; IGNORE_INDEX at the first token of every sample.
        cu_seqlens: int32 `[k + 1]`: sample j is `[cu_seqlens[j], cu_seqlens[j + 1])`.
        samples: int64 `[k]`: index of each sample in the prepared data, or of the sample that a piece is of.
        weights: float32 `[n]`: what each token counts in the loss, 0 where it is not trained; None when every trained
            token counts 1.
    """

    input_ids: IntArray
    labels: IntArray
    cu_seqlens: IntArray
    samples: IntArray
    weights: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Rows joined end to end without padding: one row for the model, many samples.

    Attributes:
        input_ids: int64 `[1, t]`.
        labels: int64 `[1, t]`.
        position_ids: int64 `[1, t]`, starting at 0 in every sample.
        cu_seqlens: int32 `[k + 1]`.
        max_seqlen: length of the longest sample, in tokens.
        weights: float32 `[1, t]`, or None when every trained token counts 1.
    """

    input_ids: IntArray
    labels: IntArray
    position_ids: IntArray
    cu_seqlens: IntArray
    max_seqlen: int
    weights: FloatArray | None = None
