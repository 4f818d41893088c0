"""Boundaries of packed sequences, in pure torch.

Several documents packed into one row are described by ``cu_seqlens``: the cumulative lengths, starting
with 0. Three documents of 3, 2 and 4 tokens::

    token          0  1  2 | 3  4 | 5  6  7  8
    document id    0  0  0 | 1  1 | 2  2  2  2
    position id    0  1  2 | 0  1 | 0  1  2  3
    cu_seqlens  =  0         3      5            9        int32, one more entry than documents

``cu_seqlens`` is the truth, everything else is derived from it. The contract is the one of flash-attn's
varlen interface (``flash_attn_varlen_func``): a contiguous int32 tensor [documents + 1] on the device of
the tokens, first entry 0, last entry the number of tokens, never decreasing. A repeated entry is a
document of no tokens; it is legal.

No function here waits for the device unless its docstring says "host sync".
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

__all__ = [
    "cu_seqlens_from_lengths",
    "cu_seqlens_from_position_ids",
    "document_causal_mask",
    "document_ids_from_cu_seqlens",
    "max_seqlen",
    "position_ids_from_cu_seqlens",
    "validate_cu_seqlens",
]

_INT32_MAX = 2**31 - 1


def cu_seqlens_from_lengths(lengths: Tensor | Sequence[int], *, device: torch.device | str | None = None) -> Tensor:
    """Cumulative lengths of documents laid end to end.

    ::

        lengths      3  2  4
        cu_seqlens   0  3  5  9

    Args:
        lengths: Tokens of each document, an integer tensor [N] or a sequence of N ints. Zeros are legal,
            N may be 0.
        device: Device of the result; by default the tensor's own, or the CPU for a sequence.

    Returns:
        int32 [N + 1].

    Raises:
        ValueError: A tensor of another shape or of floats; or, for a sequence, which is on the host and
            so can be looked at, a negative length or a sum over 2**31 - 1. The values of a tensor are not
            looked at (`validate_cu_seqlens` does, at the price of a host sync).
    """
    if isinstance(lengths, Tensor):
        _require_integers(lengths, "lengths")
        if lengths.dim() != 1:
            raise ValueError(
                f"lengths has shape {list(lengths.shape)}, expected [documents]; flatten it first, row by row"
            )
        lengths = lengths.to(device=device or lengths.device)
    else:
        lengths = _lengths_on_host(lengths).to(device or "cpu")
    cu_seqlens = torch.zeros(lengths.numel() + 1, dtype=torch.int32, device=lengths.device)
    torch.cumsum(lengths, dim=0, dtype=torch.int32, out=cu_seqlens[1:])
    return cu_seqlens


def cu_seqlens_from_position_ids(position_ids: Tensor) -> Tensor:
    """Cumulative lengths of a batch of packed rows, read off its position ids.

    A new document begins at each row start and wherever a position is not its left neighbour's plus one.
    The rows are laid end to end, as flash-attn's varlen interface expects of ``q.view(-1, heads, dim)``::

        position_ids   0  1  2  0  1        row 0: documents of 3 and 2 tokens
                       5  6  0  1  2        row 1: the rest of a document (positions 5, 6), then one of 3
        cu_seqlens     0  3  5  7  10

    Two things cannot be seen in positions. A one-token document at position p followed by one that starts
    at p + 1 counts as one document, so documents should start at 0. And padding whose position is always
    0 counts as one document per token: right, though slow, so give padding positions that count up.

    Host sync: the number of documents is the length of the result.

    Args:
        position_ids: Integer tensor [B, S].

    Returns:
        int32 [documents + 1] for the B * S tokens, on the device of `position_ids`.

    Raises:
        ValueError: `position_ids` is not two-dimensional (the 3-D ids of multimodal rope mix three
            counters: pass the temporal one) or holds floats.
    """
    _require_integers(position_ids, "position_ids")
    if position_ids.dim() != 2:
        raise ValueError(
            f"position_ids has shape {list(position_ids.shape)}, expected [batch, sequence]; "
            "add a batch dimension with [None], or pass one of the three counters of multimodal rope"
        )
    starts = torch.ones_like(position_ids, dtype=torch.bool)
    starts[:, 1:] = position_ids[:, 1:] != position_ids[:, :-1] + 1
    first_tokens = starts.flatten().nonzero().flatten()
    total = first_tokens.new_tensor([position_ids.numel()])
    return torch.cat([first_tokens, total]).to(torch.int32)


def position_ids_from_cu_seqlens(cu_seqlens: Tensor, total: int | None = None) -> Tensor:
    """Positions that count from 0 within each document.

    ::

        cu_seqlens     0  3  5  9
        position_ids   0  1  2  0  1  0  1  2  3

    Host sync: only if `total` is None.

    Args:
        cu_seqlens: int32 [N + 1].
        total: Number of tokens T. Tokens past the last boundary (padding) count from 0 as well.

    Returns:
        int64 [T], the dtype that embedding lookups want.

    Raises:
        ValueError: `cu_seqlens` is not a one-dimensional int32 tensor.
    """
    documents = document_ids_from_cu_seqlens(cu_seqlens, total)
    return torch.arange(documents.numel(), device=cu_seqlens.device) - cu_seqlens[documents]


def document_ids_from_cu_seqlens(cu_seqlens: Tensor, total: int | None = None) -> Tensor:
    """The document that each token belongs to, counted from 0.

    ::

        cu_seqlens     0  3  3  5           document 1 has no tokens, so no token has its number
        document ids   0  0  0  2  2

    Host sync: only if `total` is None.

    Args:
        cu_seqlens: int32 [N + 1].
        total: Number of tokens T. Tokens past the last boundary (padding) get the number N.

    Returns:
        int64 [T].

    Raises:
        ValueError: `cu_seqlens` is not a one-dimensional int32 tensor.
    """
    _require_form(cu_seqlens, "cu_seqlens")
    if total is None:
        total = int(cu_seqlens[-1])
    tokens = torch.arange(total, dtype=torch.int32, device=cu_seqlens.device)
    return torch.searchsorted(cu_seqlens[1:].contiguous(), tokens, right=True)


def max_seqlen(cu_seqlens: Tensor) -> int:
    """Length of the longest document, the ``max_seqlen`` argument of flash-attn; 0 if there is none.

    Host sync: the result is a Python int. Where the lengths are known on the host, take their maximum there.

    Args:
        cu_seqlens: int32 [N + 1].

    Raises:
        ValueError: `cu_seqlens` is not a one-dimensional int32 tensor.
    """
    _require_form(cu_seqlens, "cu_seqlens")
    lengths = cu_seqlens.diff()
    return int(lengths.max()) if lengths.numel() else 0


def validate_cu_seqlens(cu_seqlens: Tensor, total: int | None = None, *, name: str = "cu_seqlens") -> None:
    """Check the whole contract, values included.

    Varlen kernels trust ``cu_seqlens``: tokens that it does not cover come back uninitialised, and a
    boundary past the end reads foreign memory. Host sync: the values are copied to the host, once.

    Args:
        cu_seqlens: int32 [N + 1].
        total: The number of tokens that the last entry must equal; not checked if None.
        name: What messages call the tensor.

    Raises:
        ValueError: The first broken rule, with the offending value and its place.
    """
    _require_form(cu_seqlens, name)
    values = cu_seqlens.tolist()
    if values[0] != 0:
        raise ValueError(f"{name}[0] is {values[0]}, expected 0; prepend a 0 to the cumulative lengths")
    for i, (left, right) in enumerate(pairwise(values), start=1):
        if right < left:
            raise ValueError(
                f"{name} decreases at index {i}, from {left} to {right}; "
                "pass cumulative lengths, not lengths (cu_seqlens_from_lengths makes them)"
            )
    if total is not None and values[-1] != total:
        raise ValueError(
            f"{name} ends at {values[-1]} but there are {total} tokens; "
            "make padding a last document, or cut the tokens it does not cover"
        )


def document_causal_mask(cu_seqlens: Tensor, total: int | None = None) -> Tensor:
    """Dense mask of causal attention within documents; True where a query (row) may attend to a key (column).

    For cu_seqlens ``0 3 5``::

                 key 0  1  2  3  4
        query 0      x  .  .  .  .
              1      x  x  .  .  .
              2      x  x  x  .  .
              3      .  .  .  x  .
              4      .  .  .  x  x

    True means "may attend", the convention of ``torch.nn.functional.scaled_dot_product_attention``. The
    mask is quadratic in T: it is for tests and short rows. Host sync: only if `total` is None.

    Args:
        cu_seqlens: int32 [N + 1].
        total: Number of tokens T. Tokens past the last boundary attend to one another, causally.

    Returns:
        bool [T, T].

    Raises:
        ValueError: `cu_seqlens` is not a one-dimensional int32 tensor.
    """
    documents = document_ids_from_cu_seqlens(cu_seqlens, total)
    tokens = torch.arange(documents.numel(), device=cu_seqlens.device)
    return (documents[:, None] == documents[None, :]) & (tokens[:, None] >= tokens[None, :])


def _lengths_on_host(lengths: Sequence[int]) -> Tensor:
    for i, length in enumerate(lengths):
        if length < 0:
            raise ValueError(f"lengths[{i}] is {length}; a document has at least 0 tokens")
    if (total := sum(lengths)) > _INT32_MAX:
        raise ValueError(f"lengths sum to {total}, over the int32 limit of {_INT32_MAX}; split the batch")
    return torch.tensor(list(lengths), dtype=torch.int64)


def _require_form(cu_seqlens: Tensor, name: str) -> None:
    if cu_seqlens.dim() != 1 or cu_seqlens.numel() == 0:
        raise ValueError(
            f"{name} has shape {list(cu_seqlens.shape)}, expected [documents + 1]; even no documents give [0]"
        )
    if cu_seqlens.dtype != torch.int32:
        raise ValueError(f"{name} is {cu_seqlens.dtype}, kernels read int32; pass {name}.to(torch.int32)")


def _require_integers(tensor: Tensor, name: str) -> None:
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"{name} is {tensor.dtype}, expected integers; convert it with .to(torch.int64)")
