"""Varlen attention as an attention implementation of transformers, under the name ``sft_varlen``.

This is the only module that imports transformers, and nothing of the package imports it: it has to be asked for. It
needs transformers 5.17 or newer. Interfaces: ``AttentionInterface`` and ``AttentionMaskInterface`` of transformers
5.17 to 5.23. The name must not contain "flash", or transformers looks for it among kernels of the hub; and without a
mask function beside it transformers would make no mask at all, and padding would be attended to.

Where documents begin comes from, in this order:

1. ``cu_seq_lens_q`` and ``cu_seq_lens_k`` (int32 ``[N + 1]``, over the rows laid end to end) and ``max_length_q`` and
   ``max_length_k``, which travel through the model's forward as keyword arguments;
2. ``position_ids [B, S]``: a document begins with each row and where a position is not its left neighbour's plus one;
3. nothing: each row is one document.

A row that ranks share takes its boundaries and its way between ranks along in ``context_parallel``, a
`sft_kernels.context_parallel.ContextParallel`, also as a keyword argument of the model's forward.

With 2 and 3, an ``attention_mask [B, S]`` takes padded tokens out first; what comes back at their place is 0.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AttentionInterface, AttentionMaskInterface

from sft_kernels.attention import flash_attn_varlen_func
from sft_kernels.packing import cu_seqlens_from_position_ids, max_seqlen

__all__ = ["NAME", "register_attention"]

NAME = "sft_varlen"
_GIVEN = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")


class _Documents(NamedTuple):
    """Boundaries of the tokens that are left without padding, and where those tokens are."""

    cu_q: Tensor
    cu_k: Tensor
    longest_q: int
    longest_k: int
    kept_q: Tensor | None = None  # int64, places among B * S; None for all
    kept_k: Tensor | None = None


# By tensor, with the version that its content had: all layers of a model get the same position ids.
_FOUND: WeakIdKeyDictionary = WeakIdKeyDictionary()


def register_attention() -> str:
    """Makes ``sft_varlen`` a value of ``attn_implementation``, for all models of the process; returns the name.

    It is differentiable, and has windows, softcap, sinks and grouped heads. Calling it again changes nothing.
    """
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, mask)
    return NAME


def mask(
    batch_size: int, q_length: int, kv_length: int, attention_mask: Tensor | None = None, **kwargs: Any
) -> Tensor | None:
    """The 2-D mask of padding, bool ``[B, kv_length]``, or None where nothing is padded; see `attend`.

    Raises:
        ValueError: attention in chunks over a row longer than a chunk, which it cannot compute.
    """
    config = kwargs.get("config")
    chunk = getattr(config, "attention_chunk_size", None)
    if chunk is not None and kwargs.get("local_size") == chunk and kv_length > chunk:
        raise ValueError(
            f"{NAME}: the model attends in chunks of {chunk} tokens and the row has {kv_length}; "
            "set attn_implementation to sdpa, or shorten the rows"
        )
    if attention_mask is None:
        return None
    padding = attention_mask[:, -kv_length:]
    return None if padding.shape[1] == kv_length and bool(padding.all()) else padding.bool()


def attend(  # noqa: PLR0913  (the signature is that of transformers)
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls: attention of one layer, within documents.

    Args:
        module: the layer.
        query: floats ``[B, H, S, D]``.
        key: ``[B, K, L, D]``; L is larger than S where a cache holds earlier tokens of a row.
        value: ``[B, K, L, Dv]``.
        attention_mask: see `mask`.
        scaling: factor on q.k.
        dropout: 0.0.
        kwargs: of a model (``sliding_window``, ``softcap``, ``s_aux``, ``is_causal``) and of a call (see above).

    Returns:
        ``[B, S, H, Dv]``, and no weights.

    Raises:
        ValueError: dropout, or a call whose documents cannot be told.
    """
    if dropout:
        raise ValueError(f"{NAME}: dropout of {dropout} in attention; set attention_dropout to 0 in the model's config")
    for name in ("position_bias", "cache"):
        if kwargs.get(name) is not None:
            raise ValueError(f"{NAME}: cannot use {name}; set attn_implementation to sdpa")
    if kwargs.get("context_parallel") is not None:
        return _over_ranks(module, (query, key, value), attention_mask, scaling, kwargs), None
    where = _documents(query, key, attention_mask, kwargs)
    q, k, v = (_tokens(x, kept) for x, kept in ((query, where.kept_q), (key, where.kept_k), (value, where.kept_k)))
    q, k, v = _in_one_dtype(module, q, k, v)
    out = flash_attn_varlen_func(q, k, v, *where[:4], softmax_scale=scaling, **_how(module, kwargs))
    batch, heads, length, _ = query.shape
    if where.kept_q is not None:
        out = out.new_zeros(batch * length, heads, out.shape[-1]).index_copy(0, where.kept_q, out)
    return out.view(batch, length, heads, out.shape[-1]), None


def _how(module: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Who sees whom and how scores are made, as attention over packed documents takes it."""
    causal = kwargs.get("is_causal")
    window = kwargs.get("sliding_window")
    return {
        "causal": getattr(module, "is_causal", True) if causal is None else causal,
        "window_size": (-1, -1) if window is None else (window - 1, window - 1),
        "softcap": kwargs.get("softcap") or 0.0,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "sinks": kwargs.get("s_aux"),
    }


def _over_ranks(
    module: Any,
    heads_first: tuple[Tensor, Tensor, Tensor],
    attention_mask: Tensor | None,
    scaling: float | None,
    kwargs: dict[str, Any],
) -> Tensor:
    """Attention over a row of which this rank has a part."""
    rows, keys = heads_first[0].shape[0], heads_first[1].shape[2]
    if rows != 1 or keys != heads_first[0].shape[2] or attention_mask is not None:
        raise ValueError(
            f"{NAME}: context_parallel with {rows} rows, {keys} keys, and {'a' if attention_mask is not None else 'no'}"
            " mask of padding; ranks share one packed row without padding and without a cache"
        )
    q, k, v = _in_one_dtype(module, *(_tokens(x, None) for x in heads_first))
    return kwargs["context_parallel"].attend(q, k, v, softmax_scale=scaling, **_how(module, kwargs))[None]


def _tokens(x: Tensor, kept: Tensor | None) -> Tensor:
    """``[B, H, S, D]`` as ``[tokens, H, D]``, without those that are not kept."""
    flat = x.transpose(1, 2).flatten(0, 1)
    return flat if kept is None else flat.index_select(0, kept)


def _in_one_dtype(module: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
    """As they are, unless norms in float32 (which adapters make) widened a model that computes in less."""
    if tensors[0].dtype != torch.float32 or torch.is_autocast_enabled(tensors[0].device.type):
        dtype = tensors[0].dtype
    elif hasattr(module.config, "_is_quantized"):
        dtype = module.config.dtype
    else:
        layers = (each for each in module.modules() if isinstance(each, torch.nn.Linear))
        dtype = next((each.weight.dtype for each in layers), torch.float32)
    return tuple(tensor.to(dtype) for tensor in tensors)


def _documents(query: Tensor, key: Tensor, attention_mask: Tensor | None, kwargs: dict[str, Any]) -> _Documents:
    given: list[Any] = [kwargs.get(name) for name in _GIVEN]
    if all(each is not None for each in given):
        if attention_mask is not None:
            raise ValueError(f"{NAME}: cu_seq_lens_q together with padding; make the padding a document, and no mask")
        return _Documents(*given)
    positions: Tensor | None = kwargs.get("position_ids")
    rows, length, keys = query.shape[0], query.shape[2], key.shape[2]
    if length != keys:  # a cache holds the earlier tokens: rows are documents
        return _rows(rows, length, keys, attention_mask, query.device)
    if positions is None:
        positions = torch.arange(length, device=query.device)[None]
    if positions.dim() != 2:
        raise ValueError(
            f"{NAME}: position_ids has shape {list(positions.shape)}, expected [batch, sequence]; with the three "
            "counters of multimodal rope pass cu_seq_lens_q, cu_seq_lens_k, max_length_q and max_length_k"
        )
    return _remembered(positions, rows, attention_mask)


def _remembered(positions: Tensor, rows: int, attention_mask: Tensor | None) -> _Documents:
    """Found once for all layers. Host sync: their number, and the longest."""
    before = _FOUND.get(positions)
    if before is not None and before[:2] == (positions._version, rows) and before[2] is attention_mask:
        return before[3]
    found = _by_positions(positions.expand(rows, -1), attention_mask)
    _FOUND[positions] = positions._version, rows, attention_mask, found
    return found


def _by_positions(positions: Tensor, attention_mask: Tensor | None) -> _Documents:
    kept = None
    if attention_mask is None:
        cu = cu_seqlens_from_position_ids(positions)
    else:
        kept = attention_mask.flatten().nonzero().flatten()
        row = kept // positions.shape[1]
        held = positions.flatten()[kept]
        starts = torch.ones_like(kept, dtype=torch.bool)
        starts[1:] = (held[1:] != held[:-1] + 1) | (row[1:] != row[:-1])
        cu = torch.cat([starts.nonzero().flatten(), kept.new_tensor([kept.numel()])]).to(torch.int32)
    longest = max_seqlen(cu)
    return _Documents(cu, cu, longest, longest, kept, kept)


def _rows(rows: int, length: int, keys: int, attention_mask: Tensor | None, device: torch.device) -> _Documents:
    """Each row a document, of as many keys as are not padded."""
    if attention_mask is None:
        count = torch.arange(rows + 1, dtype=torch.int32, device=device)
        return _Documents(count * length, count * keys, length, keys)
    if attention_mask.shape[1] != keys:
        raise ValueError(
            f"{NAME}: {keys} keys and a mask of {attention_mask.shape[1]}; a static cache is not supported, "
            "use a dynamic one"
        )
    cu, kept, longest = [], [], []
    for seen in (attention_mask[:, -length:], attention_mask):
        ends = torch.nn.functional.pad(seen.sum(1).cumsum(0), (1, 0)).to(torch.int32)
        cu.append(ends)
        kept.append(seen.flatten().nonzero().flatten())
        longest.append(max_seqlen(ends))
    return _Documents(*cu, *longest, *kept)
