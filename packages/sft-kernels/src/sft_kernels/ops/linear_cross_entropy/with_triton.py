"""The head in parts, each part's logits in triton: read twice, and overwritten with their gradient."""

from torch import Tensor

from sft_kernels.ops.cross_entropy import triton as rows
from sft_kernels.ops.linear_cross_entropy.chunked import Rows, implementation
from sft_kernels.ops.linear_cross_entropy.settings import Settings

__all__ = ["backward", "forward", "gradient", "kept", "statistics"]


def statistics(logits: Tensor, target: Tensor, how: Settings) -> tuple[Tensor, Tensor]:
    """See `chunked.Rows`."""
    return rows.forward(logits, target, how.scale, how.softcap, how.smoothing > 0, how.entropy), logits


def kept(logits: Tensor, statistics: Tensor, how: Settings) -> Tensor:
    """See `chunked.Rows`."""
    return logits


def gradient(kept: Tensor, target: Tensor, statistics: Tensor, slopes: Tensor, how: Settings) -> Tensor:
    """See `chunked.Rows`."""
    rows.gradient_into(kept, kept, target, statistics.contiguous(), slopes.contiguous(), (how.scale, how.softcap))
    return kept


forward, backward = implementation(Rows(statistics, kept, gradient))
