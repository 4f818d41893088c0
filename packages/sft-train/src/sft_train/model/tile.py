"""MLPs of long rows a slice of tokens at a time.

An MLP treats each token alone, and widens it three- to fourfold on the way. With all tokens of a long row at once that
is the largest thing in memory; in slices, each computed again in the backward pass, only one slice of it exists (tiled
MLP of ALST, Bekman et al. 2025, arXiv 2506.13996).

    x [1, t, width] -> x[:, :s], x[:, s:2s], ...  each through the MLP -> [1, t, width]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sft_schema import ConfigError, Issue, SftConfig

_NAMES = ("mlp", "feed_forward", "ffn", "block_sparse_moe")
_TOKENS, _TOLERANCE = 6, 1e-3


def tile_mlps(model: nn.Module, cfg: SftConfig) -> int:
    """Gives the MLPs of all decoder layers a forward that goes slice by slice; weights and names stay.

    Args:
        model: with its adapter and fused layers, before it is moved, wrapped or compiled.
        cfg: whether, and in how many slices.

    Returns:
        How many MLPs there are; 0 when none was asked for.

    Raises:
        ConfigError: the model has no MLP whose tokens can be taken apart.
    """
    if not cfg.tiled_mlp:
        return 0
    hidden: int = model.get_input_embeddings().weight.shape[1]  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    slices = cfg.tiled_mlp_num_shards or max(2, -(-cfg.sequence_len // hidden))
    found = [
        each
        for name, each in model.named_modules()
        if name.rpartition(".")[2] in _NAMES and _takes_tokens_alone(each, hidden)
    ]
    if not found:
        message = f"{type(model).__name__} has no MLP that gives each token the same alone as with others"
        raise ConfigError([Issue("tiled_mlp", ("tiled_mlp",), message, "set `gradient_checkpointing: true` instead")])
    for each in found:
        each.forward = partial(_in_slices, each.forward, slices)
    return len(found)


def _in_slices(forward: Callable[[Tensor], Tensor], slices: int, hidden: Tensor) -> Tensor:
    """`forward(hidden)` for hidden `[b, t, width]`, each slice of tokens computed again in the backward pass."""
    parts = hidden.chunk(slices, dim=1)
    if len(parts) == 1:
        return forward(hidden)
    if not torch.is_grad_enabled():
        return torch.cat([forward(part) for part in parts], dim=1)
    return torch.cat([_recomputed(forward, part) for part in parts], dim=1)


def _recomputed(forward: Callable[[Tensor], Tensor], part: Tensor) -> Tensor:
    found: Tensor = checkpoint(forward, part, use_reentrant=False)  # pyright: ignore[reportAssignmentType]
    return found


@torch.no_grad()
def _takes_tokens_alone(mlp: nn.Module, hidden: int) -> bool:
    """Whether two slices give what the whole gives, tried on a few random tokens."""
    weight = next(mlp.parameters())
    generator = torch.Generator().manual_seed(0)
    dtype = weight.dtype if weight.is_floating_point() else torch.float32
    tokens = torch.randn(1, _TOKENS, hidden, generator=generator).to(weight.device, dtype)
    training = mlp.training
    mlp.eval()
    try:
        whole = mlp(tokens)
        if not isinstance(whole, Tensor) or whole.shape != tokens.shape:
            return False
        apart = torch.cat([mlp(part) for part in tokens.chunk(2, dim=1)], dim=1)
    except (TypeError, ValueError, RuntimeError):  # it takes something else
        return False
    finally:
        mlp.train(training)
    return bool((whole - apart).abs().max() <= _TOLERANCE * whole.abs().max() + 1e-6)
