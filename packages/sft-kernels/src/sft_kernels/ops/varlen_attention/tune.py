"""Finds the tiles with which varlen attention is fastest on this GPU, and writes them to a table.

::

    from sft_kernels.ops.varlen_attention.tune import tune
    tune("tiles.json", heads=32, kv_heads=8, width=128)      # then SFT_KERNELS_TILES=tiles.json

Nothing is tuned by itself: a training run would pay for it, and results would depend on how busy the GPU was.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from triton.runtime.errors import OutOfResources, PTXASError
from triton.testing import do_bench

from sft_kernels.packing import cu_seqlens_from_lengths
from sft_kernels.tiles import KERNELS, Tile, key_of, use_tiles, write_tiles

__all__ = ["CANDIDATES", "tune"]

CANDIDATES = [Tile(*each) for each in product((32, 64, 128), (32, 64, 128), (4, 8), (1, 2, 3))]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def tune(  # noqa: PLR0913
    path: str | Path,
    *,
    heads: int,
    kv_heads: int,
    width: int,
    dtype: torch.dtype = torch.bfloat16,
    lengths: Sequence[int] = (4096,) * 4,
    candidates: Iterable[Tile] = CANDIDATES,
) -> dict[str, Tile]:
    """Times causal attention over documents, forward and backward, with each tile, one kernel after another.

    Args:
        path: the table that the fastest are added to.
        heads: of the queries.
        kv_heads: of the keys and values.
        width: elements of a head; the next power of two, and at least 64, is what the tiles are for.
        dtype: of queries, keys and values.
        lengths: tokens of each document.
        candidates: tiles to try; those that the GPU has no room for are left out.

    Returns:
        The fastest tiles by key, as they were written.

    Raises:
        ValueError: no candidate can run.
    """
    passes = _passes(heads, kv_heads, width, dtype, cu_seqlens_from_lengths(list(lengths), device=DEVICE))
    padded, found = max(64, 1 << (width - 1).bit_length()), {}
    for kernel in KERNELS:
        key = key_of(kernel, dtype, padded, torch.device(DEVICE))
        run = passes[0] if kernel == KERNELS[0] else passes[1]
        with use_tiles(found):
            times = {tile: _milliseconds(run, key, tile) for tile in candidates}
        able = {tile: each for tile, each in times.items() if each is not None}
        if not able:
            raise ValueError(f"tune: {key}: none of {len(times)} candidates can run; pass smaller ones")
        found[key] = min(able, key=lambda tile: able[tile])
    write_tiles(path, found)
    return found


def _passes(heads: int, kv_heads: int, width: int, dtype: torch.dtype, ends: Tensor) -> list[Callable[[], Any]]:
    """The forward and the backward pass, as functions without arguments."""
    tokens = int(ends[-1])
    q, k, v = (torch.randn(tokens, n, width, device=DEVICE, dtype=dtype) for n in (heads, kv_heads, kv_heads))
    how = (width**-0.5, 0.0, -1, 0, "triton")
    raw = torch.ops.sft_kernels
    out, lse = raw.varlen_attention_forward(q, k, v, None, ends, ends, *how)
    return [
        lambda: raw.varlen_attention_forward(q, k, v, None, ends, ends, *how),
        lambda: raw.varlen_attention_backward(out, None, q, k, v, None, ends, ends, out, lse, *how),
    ]


def _milliseconds(run: Callable[[], Any], key: str, tile: Tile) -> float | None:
    """The median on a GPU, one call in the interpreter; None where the tile does not fit."""
    try:
        with use_tiles({key: tile}):
            if DEVICE == "cuda":
                return cast("float", do_bench(run, return_mode="median"))
            began = time.perf_counter()
            run()
            return 1000 * (time.perf_counter() - began)
    except (OutOfResources, PTXASError):
        return None
