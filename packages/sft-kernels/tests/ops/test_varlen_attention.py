"""Varlen attention in triton against the formula written out, in every form that models ask for."""

from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from sft_kernels import cu_seqlens_from_lengths, flash_attn_varlen_func
from sft_kernels.ops.varlen_attention import triton as kernels
from sft_kernels.ops.varlen_attention.tune import tune
from sft_kernels.testing import check_op, check_registration
from sft_kernels.testing.inputs import random
from sft_kernels.tiles import KERNELS, SHIPPED, Tile, read_tiles, use_tiles, write_tiles

FORMS: dict[str, dict[str, Any]] = {
    "causal": {"causal": True},
    "full": {},
    "causal window": {"causal": True, "window_size": (11, 0)},
    "window": {"window_size": (3, 20)},
    "softcap and scale": {"causal": True, "softcap": 2.0, "softmax_scale": 0.7},
}


def boundaries(lengths: list[int]) -> Tensor:
    return cu_seqlens_from_lengths(lengths, device=random(1).device)


def formula(
    q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, lengths_q: list[int], lengths_k: list[int],
    causal: bool = False, window_size: tuple[int, int] = (-1, -1), softcap: float = 0.0,
    softmax_scale: float | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """All documents at once with a dense mask, in the dtype of `q`; probabilities and the lse in float32 at least."""
    groups = q.shape[1] // k.shape[1]
    scores = torch.einsum("qhd,khd->hqk", q, k.repeat_interleave(groups, 1))
    scores = scores * (q.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    mask = visible(lengths_q, lengths_k, window_size[0], 0 if causal else window_size[1]).to(q.device)
    scores = scores.to(torch.promote_types(q.dtype, torch.float32)).masked_fill(~mask, float("-inf"))
    if sinks is not None:
        scores = torch.cat([scores, sinks.to(scores)[:, None, None].expand(-1, q.shape[0], 1)], -1)
    lse = scores.logsumexp(-1)
    weights = torch.exp(scores - lse[..., None])[..., : k.shape[0]].to(v.dtype)
    return torch.einsum("hqk,khd->qhd", weights, v.repeat_interleave(groups, 1)), lse


def visible(lengths_q: list[int], lengths_k: list[int], left: int, right: int) -> Tensor:
    mask = torch.zeros(sum(lengths_q), sum(lengths_k), dtype=torch.bool)
    row = column = 0
    for n_queries, n_keys in zip(lengths_q, lengths_k, strict=True):
        distance = torch.arange(n_keys)[None] - (torch.arange(n_queries)[:, None] + n_keys - n_queries)
        seen = (distance >= -left if left >= 0 else True) & (distance <= right if right >= 0 else distance == distance)
        mask[row : row + n_queries, column : column + n_keys] = seen
        row, column = row + n_queries, column + n_keys
    return mask


def ours(
    q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, lengths_q: list[int], lengths_k: list[int], **form: Any
) -> Any:
    form = {"return_lse": True, "backend": "triton"} | form
    ends = boundaries(lengths_q), boundaries(lengths_k)
    longest = max(lengths_q, default=0), max(lengths_k, default=0)
    return flash_attn_varlen_func(q, k, v, *ends, *longest, sinks=sinks, **form)


def inputs(
    lengths_q: list[int], lengths_k: list[int], heads: tuple[int, int] = (2, 1), dims: tuple[int, int] = (8, 8),
    dtype: torch.dtype = torch.float32, sinks: bool = False,
) -> list[Any]:  # fmt: skip
    total_q, total_k = sum(lengths_q), sum(lengths_k)
    return [
        random(total_q, heads[0], dims[0], dtype=dtype, seed=1),
        random(total_k, heads[1], dims[0], dtype=dtype, seed=2),
        random(total_k, heads[1], dims[1], dtype=dtype, seed=3),
        random(heads[0], dtype=dtype, seed=4) if sinks else None,
        lengths_q,
        lengths_k,
    ]


def check(given: list[Any], form: dict[str, Any], factor: float = 4.0) -> None:
    """More than twice plain PyTorch's error: scores in base 2 are rounded once more, and few values draw few errors."""
    check_op(partial(ours, **form), partial(formula, **form), given, factor=factor)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_as_accurate_as_plain_pytorch(form: str) -> None:
    lengths = [5, 0, 18]
    given = inputs(lengths, lengths, sinks=form in ("softcap and scale", "causal window"))
    # a tanh made of a sigmoid is exact to a rounding of 1, not of itself; flash-attn's tests allow more there as well
    check(given, FORMS[form], factor=10.0 if form == "softcap and scale" else 4.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_is_as_accurate_as_plain_pytorch(dtype: torch.dtype) -> None:
    form = {"causal": True, "window_size": (13, 0), "softcap": 5.0}
    check(inputs([3, 18], [3, 18], dtype=dtype, sinks=True), form, factor=3.0)


@pytest.mark.parametrize(
    ("heads", "dims"), [((2, 2), (40, 16)), ((3, 1), (8, 24)), ((1, 1), (64, 80)), ((1, 1), (256, 256))], ids=str
)
def test_heads_and_widths(heads: tuple[int, int], dims: tuple[int, int]) -> None:
    check(inputs([9], [9], heads, dims), {"causal": True})


@pytest.mark.parametrize(
    ("lengths_q", "lengths_k"),
    [([1], [1]), ([63], [63]), ([65], [65]), ([1] * 3, [1] * 3), ([2, 0, 17], [19, 1, 17])],
    ids=str,
)
def test_lengths_at_the_edges_of_blocks(lengths_q: list[int], lengths_k: list[int]) -> None:
    # with a sink, or the gradient of a document of one token would be zero, and its error the rounding of a difference
    check(inputs(lengths_q, lengths_k, (1, 1), sinks=True), {"causal": True}, factor=6.0)


@settings(max_examples=4, deadline=None, derandomize=True, phases=[Phase.generate])
@given(
    st.lists(st.tuples(st.integers(0, 17), st.integers(1, 33)), min_size=1, max_size=2),
    st.tuples(st.integers(-1, 30), st.integers(-1, 30)),
)
def test_any_lengths_and_windows(lengths: list[tuple[int, int]], window: tuple[int, int]) -> None:
    """With a sink, so that a query that sees no key has a result to compare."""
    lengths_q, lengths_k = ([pair[side] for pair in lengths] for side in (0, 1))
    check(inputs(lengths_q, lengths_k, (1, 1), sinks=True), {"window_size": window}, factor=8.0)


def test_queries_that_see_no_key_give_zeros_and_zero_gradients() -> None:
    given = inputs([20, 2], [1, 0])
    out, lse = ours(*given, causal=True)
    blind = [*range(19), 20, 21]
    assert (out[blind] == 0).all()
    assert (lse[:, blind] == float("inf")).all()
    gradients = torch.autograd.grad([out, lse], given[:3], [torch.ones_like(out), torch.ones_like(lse)])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert (gradients[0][blind] == 0).all()


def test_a_batch_of_no_tokens() -> None:
    for lengths in ([], [0, 0]):
        given = inputs(lengths, lengths)
        out, _ = ours(*given)
        assert out.shape == (0, 2, 8)
        torch.autograd.grad(out.sum(), given[:3])
    given = inputs([0, 0], [3, 2])
    assert all((g == 0).all() for g in torch.autograd.grad(ours(*given)[0].sum(), given[:3]))


def test_a_document_has_the_same_bits_whatever_it_is_packed_with() -> None:
    given = inputs([21, 7, 18], [21, 7, 18], dtype=torch.bfloat16)
    own = slice(21, 28)
    alone = [x.detach()[own].requires_grad_() for x in given[:3]]
    packed, single = ours(*given, causal=True)[0], ours(*alone, None, [7], [7], causal=True)[0]
    assert torch.equal(packed[own], single)
    direction = random(46, 2, 8, dtype=torch.bfloat16, grad=False)
    together = torch.autograd.grad(packed, given[:3], direction)
    for whole, part in zip(together, torch.autograd.grad(single, alone, direction[own]), strict=True):
        assert torch.equal(whole[own], part)


def test_the_lse_may_be_used_alone() -> None:
    given, form = inputs([9], [9], sinks=True), {"causal": True}
    given[2].requires_grad_(False)
    check_op(lambda *x: ours(*x, **form)[1], lambda *x: formula(*x, **form)[1], given, factor=4.0)


def test_torch_knows_the_reference() -> None:
    q, k, v, sinks, *_ = inputs([2, 3], [2, 3], dims=(3, 2), sinks=True)
    ends = boundaries([2, 3])
    form = {"causal": True, "window_size": (1, 0), "softcap": 2.0, "return_lse": True, "backend": "reference"}

    def call(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor) -> Any:
        return flash_attn_varlen_func(q, k, v, ends, ends, 3, 3, sinks=sinks, **form)

    check_registration(call, [q, k, v, sinks])


def test_the_reference_is_as_accurate_as_plain_pytorch() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        form = {"causal": True, "window_size": (20, 0), "softcap": 5.0}
        given = inputs([3, 34], [5, 34], dtype=dtype, sinks=True)
        check_op(partial(ours, backend="reference", **form), partial(formula, **form), given, factor=3.0)


def test_autocast_casts_as_it_casts_matrix_products() -> None:
    given = inputs([9], [9])
    low = [x.detach().bfloat16().requires_grad_() for x in given[:3]]
    with torch.autocast(given[0].device.type, dtype=torch.bfloat16):
        out = ours(*given, causal=True)[0]
    assert torch.equal(out, ours(*low, *given[3:], causal=True)[0])
    assert all(g.dtype == torch.float32 for g in torch.autograd.grad(out.float().sum(), given[:3]))


@pytest.mark.parametrize(("starts", "block"), [([0], 4), ([0, 3, 3, 9, 17], 4), ([0, 0, 64, 65, 128], 16)], ids=str)
def test_every_block_of_every_document_has_a_number(starts: list[int], block: int) -> None:
    """The rule by which programs find their document."""
    ends = [*starts[1:], 130]
    numbers = [
        first // block + document + step
        for document, (first, end) in enumerate(zip(starts, ends, strict=True))
        for step in range(-(-(end - first) // block))
    ]
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) < 130 // block + len(starts)


def test_tiles_exist_for_every_width_that_is_promised() -> None:
    for kernel, dtype, width, capability in product(
        KERNELS, ("bfloat16", "float16"), (64, 128, 256), ("8.0", "9.0", "10.0")
    ):
        assert f"{kernel}/{dtype}/{width}/{capability}" in read_tiles(SHIPPED)
    names = [form.name for form in kernels.specialisations()]
    assert {
        f"varlen_attention_{kernel}_{width}" for kernel in ("forward", "dq", "dkv") for width in (64, 128, 256)
    } <= {*names}


def test_tuning_writes_the_fastest_tiles_and_they_are_used(tmp_path: Path) -> None:
    table, candidates = tmp_path / "tiles.json", [kernels.SMALL, Tile(64, 32, 4, 1)]
    write_tiles(table, {"varlen_attention_forward/float64/64/9.0": (16, 16, 4, 1)})
    how = {"heads": 2, "kv_heads": 1, "width": 8, "dtype": torch.float32, "lengths": [20, 3]}
    found = tune(table, candidates=candidates, **how)
    assert read_tiles(table) == found | {"varlen_attention_forward/float64/64/9.0": (16, 16, 4, 1)}
    assert set(found.values()) <= {*candidates}
    device = random(1).device
    with use_tiles(table):
        assert kernels.tiles(device, torch.float32, 8) == tuple(found.values())
        check(inputs([5, 18], [5, 18]), {"causal": True})
    assert kernels.tiles(device, torch.float32, 8) != tuple(found.values())


def test_no_new_program_is_compiled_when_the_number_of_tokens_changes() -> None:
    """Sizes that change from batch to batch are no part of what a kernel is compiled for."""
    for kernel in (kernels._forward, kernels._dq, kernels._dkv, kernels._delta):
        changing = {"n_documents", "total_q", "left", "right"} & set(kernel.arg_names)
        if hasattr(kernel, "params"):
            assert all(each.do_not_specialize for each in kernel.params if each.name in changing)
