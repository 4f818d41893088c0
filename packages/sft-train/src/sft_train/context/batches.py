"""A process's part of the batches that its group shares.

What comes next after each token is worked out over the whole row (`predict_at`, `targets`), and then the row is cut, so
a token at the end of a part predicts the first one of the next. Two processes, one part each:

    token       a0  a1  a2 | a3  b0  b1
    predict_at       1   2         1            a1, a2 and b0, each within its part
    targets         a2  a3        b1
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sft_kernels.context_parallel import METHODS, take
from sft_schema.record import PackedRow
from sft_train.context.mesh import ContextMesh

_PER_TOKEN = ("input_ids", "position_ids")
_PER_TARGET = ("targets", "target_weights", "sources")


class ContextBatches:
    """Rows to this process's part of a batch; the group's other processes make theirs of the same rows.

    Args:
        whole: rows to the whole batch; see `sft_train.trainer.rows.to_tensors`.
        mesh: of this process.
    """

    def __init__(self, whole: Callable[[Sequence[PackedRow]], dict[str, Any]], mesh: ContextMesh) -> None:
        # no process group: workers that load data get this object
        self._whole, self._rank, self._size, self._method = whole, mesh.rank, mesh.size, mesh.method

    def __call__(self, rows: Sequence[PackedRow]) -> dict[str, Any]:
        """See `part_of`."""
        return part_of(self._whole(rows), self._method, self._rank, self._size)


def part_of(batch: dict[str, Any], method: str, rank: int, size: int) -> dict[str, Any]:
    """One of `size` parts of a batch.

    Args:
        batch: see `sft_train.trainer.rows.to_tensors`.
        method: `ring` or `ulysses`, which cut rows differently.
        rank: which part.
        size: how many there are.

    Returns:
        `input_ids` and `position_ids` int64 `[1, t]`; `predict_at`, `targets` and perhaps `target_weights` of this
        part's tokens alone, and places within it; `layout`, that of the whole row; `tokens`, how many of them count
        as work. All parts together have each token and each target once.
    """
    total = batch["input_ids"].shape[1]
    batch = _filled_up(batch, 2 * size)
    layout = METHODS[method](batch["cu_seqlens"], size)
    held = take(torch.arange(layout.total), layout, rank)
    place = torch.full((layout.total,), -1)
    place[held] = torch.arange(len(held))
    at = place[batch["predict_at"]]
    mine = at >= 0
    trained = {name: batch[name][mine] for name in _PER_TARGET if name in batch}
    return {
        **{name: take(batch[name], layout, rank) for name in _PER_TOKEN},
        **trained,
        "predict_at": at[mine],
        "layout": layout,
        "tokens": int((held < total).sum()) if batch["targets"].numel() else 0,
    }


def _filled_up(batch: dict[str, Any], least: int) -> dict[str, Any]:
    """A row of at least so many tokens, so that no process has none: a sample without targets comes at its end."""
    ids: Tensor = batch["input_ids"]
    missing = least - ids.shape[1]
    if missing <= 0:
        return batch
    return batch | {
        "input_ids": torch.cat([ids, ids[:, -1:].expand(1, missing)], 1),
        "position_ids": torch.cat([batch["position_ids"], torch.arange(missing)[None]], 1),
        "cu_seqlens": torch.cat([batch["cu_seqlens"], batch["cu_seqlens"][-1:] + missing]),
    }
