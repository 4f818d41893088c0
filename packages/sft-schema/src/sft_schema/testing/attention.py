"""Contract of an attention backend: its row in the table is true."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from random import Random

from sft_schema.attention import ALL_BACKENDS, AttentionBackend
from sft_schema.errors import ContractError
from sft_schema.testing.attention_case import AttentionCase, Vectors, reference_gradients, reference_output

Attend = Callable[[AttentionCase], Vectors]
Gradients = Callable[[AttentionCase, Vectors], tuple[Vectors, Vectors, Vectors]]

_LENGTHS = (5, 1, 7)
_HEADS = ((4, 2), (2, 2), (3, 1))  # query heads, key heads


def check_attention_backend(
    row: AttentionBackend, attend: Attend, *, gradients: Gradients | None = None, tolerance: float = 1e-4
) -> int:
    """Outputs and gradients are those of causal attention within each sample, with every feature that the row claims.

    Cases are plain lists, so that this package needs no torch: a wrapper of two lines turns them into tensors and the
    result back with `tolist`. Grouped and single key heads, samples of one token, the smallest and the largest head
    dimension of the row, and its sliding window, softcap and sinks are tried. Where the row says that samples are kept
    apart, other samples are made ten thousand times larger, which must not be seen. Where it says `always`
    deterministic, two calls have equal bits.

    Args:
        row: the backend's row.
        attend: a case to its outputs, `[t][h][d]`.
        gradients: a case and a gradient of the outputs to the gradients of q, k and v.
        tolerance: largest difference allowed, as a part of the largest value: 1e-4 for float32, 2e-2 for bfloat16.

    Returns:
        How many cases were compared.

    Raises:
        ContractError: a claim of the row is not true, with the case and the difference.
    """
    _check_name(row)
    cases = list(_cases(row))
    for case in cases:
        _compare(f"{row.name}, {case.name}", attend(case), reference_output(case), tolerance)
        if row.deterministic == "always" and attend(case) != attend(case):
            raise ContractError(f"{row.name}, {case.name}: two calls differ, and the row says always deterministic")
        if gradients is not None:
            _check_gradients(row, case, gradients, tolerance)
        if row.attn_supports_packing:
            _check_isolation(row, case, attend, tolerance)
    return len(cases)


def _check_name(row: AttentionBackend) -> None:
    if row.name not in ALL_BACKENDS and ("flash" in row.name or "/" in row.name):
        message = f"the name {row.name!r} would be taken for a hub kernel by transformers, because of 'flash' or '/'"
        raise ContractError(message)


def _cases(row: AttentionBackend) -> Iterator[AttentionCase]:
    lengths = _LENGTHS if row.attn_supports_packing else (9,)
    small = row.head_dim_multiple * max(1, -(-8 // row.head_dim_multiple))
    for number, heads in enumerate(_HEADS):
        yield _case(f"{heads[0]} query heads, {heads[1]} key heads", lengths, heads, small, seed=number)
    if row.max_head_dim is not None:
        yield _case(f"head dimension {row.max_head_dim}", lengths, (2, 1), row.max_head_dim, seed=7)
    basis = _case("features", lengths, (4, 2), small, seed=8)
    if row.sliding_window:
        yield replace(basis, name="sliding window of 3", window=3)
    if row.softcap:
        yield replace(basis, name="softcap 1.5", softcap=1.5)
    if row.sinks:
        yield replace(basis, name="sinks", sinks=[0.5, -1.0, 2.0, 0.0])
    if row.sliding_window and row.softcap and row.sinks:
        yield replace(basis, name="all features", window=2, softcap=2.0, sinks=[1.0, 0.0, -0.5, 0.25])


def _case(name: str, lengths: tuple[int, ...], heads: tuple[int, int], dim: int, *, seed: int) -> AttentionCase:
    random, total = Random(seed), sum(lengths)

    def vectors(count: int) -> Vectors:
        return [[[random.gauss(0, 1) for _ in range(dim)] for _ in range(count)] for _ in range(total)]

    ends = [sum(lengths[:count]) for count in range(len(lengths) + 1)]
    return AttentionCase(name, vectors(heads[0]), vectors(heads[1]), vectors(heads[1]), ends)


def _check_gradients(row: AttentionBackend, case: AttentionCase, gradients: Gradients, tolerance: float) -> None:
    random = Random(11)
    d_out = [[[random.gauss(0, 1) for _ in vector] for vector in heads] for heads in case.q]
    found, wanted = gradients(case, d_out), reference_gradients(case, d_out)
    for name, mine, reference in zip("qkv", found, wanted, strict=True):
        _compare(f"{row.name}, {case.name}, gradient of {name}", mine, reference, tolerance)
    if row.deterministic == "always" and gradients(case, d_out) != found:
        raise ContractError(f"{row.name}, {case.name}: gradients of two calls differ, and the row says always")


def _check_isolation(row: AttentionBackend, case: AttentionCase, attend: Attend, tolerance: float) -> None:
    """Makes every other sample huge, one sample at a time, and looks at that one."""
    before = attend(case)
    for start, end in pairwise(case.cu_seqlens):
        changed = replace(
            case, q=_others(case.q, start, end), k=_others(case.k, start, end), v=_others(case.v, start, end)
        )
        what = f"{row.name}, {case.name}: tokens {start} to {end - 1} after a change of the other samples"
        _compare(what, attend(changed)[start:end], before[start:end], tolerance)


def _others(vectors: Vectors, start: int, end: int) -> Vectors:
    return [
        heads if start <= token < end else [[1e4 * value for value in vector] for vector in heads]
        for token, heads in enumerate(vectors)
    ]


def _flat(vectors: Vectors) -> list[float]:
    return [value for heads in vectors for vector in heads for value in vector]


def _compare(what: str, found: Vectors, wanted: Vectors, tolerance: float) -> None:
    mine, reference = _flat(found), _flat(wanted)
    if len(mine) != len(reference):
        raise ContractError(f"{what}: {len(mine)} numbers, expected {len(reference)}")
    largest = max(abs(value) for value in reference)
    difference = max(abs(a - b) for a, b in zip(mine, reference, strict=True))
    if not difference <= tolerance * largest:  # so that a difference that is not a number fails too
        raise ContractError(f"{what}: off by {difference:.3g}, where the largest value is {largest:.3g}")
