"""Rotary embeddings in triton and in the reference, against formulas of modeling code."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sft_kernels import apply_rotary_pos_emb, rope, rope_cached
from sft_kernels.testing import check_op, check_registration
from sft_kernels.testing.inputs import random

BACKENDS = ("triton", "reference")


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


def hf(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, heads: int = 1) -> tuple[Tensor, ...]:
    """As Llama's, and Phi-3's for a part of a head; the result has the dtype of its input."""
    cos, sin = cos.unsqueeze(heads).to(q.dtype), sin.unsqueeze(heads).to(q.dtype)
    width = cos.shape[-1]
    return tuple(torch.cat((turn(x[..., :width], cos, sin), x[..., width:]), -1) for x in (q, k))


def paper(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Neighbours as pairs, angles once, heads at dimension 1."""
    cos, sin = cos.unsqueeze(1).to(x.dtype), sin.unsqueeze(1).to(x.dtype)
    a, b = x[..., ::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)


def heads(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return random(*shape, dtype=dtype, seed=seed)


def angles(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    at = random(*shape, seed=9, grad=False) * 3
    return at.cos().to(dtype), at.sin().to(dtype)


def twice(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    cos, sin = angles(*shape, dtype=dtype)
    return torch.cat((cos, cos), -1), torch.cat((sin, sin), -1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_results_and_gradients_are_as_accurate_as_plain_pytorch(dtype: torch.dtype, backend: str) -> None:
    op = partial(apply_rotary_pos_emb, backend=backend)
    q, k = heads(2, 3, 3, 32, dtype=dtype), heads(2, 1, 3, 32, dtype=dtype, seed=1)
    check_op(op, hf, [q, k, *twice(2, 3, 16, dtype=dtype)])
    if dtype == torch.float16:
        return
    check_op(op, hf, [q, k, *twice(1, 3, 5, dtype=dtype)])  # a part of each head, one row of angles for all
    if dtype == torch.bfloat16:
        transposed = [each.detach().transpose(1, 2).requires_grad_() for each in (q, k)]
        check_op(partial(op, unsqueeze_dim=2), partial(hf, heads=2), [*transposed, *twice(2, 3, 16, dtype=dtype)])
    else:
        packed = [heads(4, 3, 14, dtype=dtype), heads(4, 2, 14, dtype=dtype, seed=1)]
        check_op(op, hf, [*packed, *twice(4, 7, dtype=dtype)])


@pytest.mark.parametrize("backend", BACKENDS)
def test_neighbours_as_pairs(backend: str) -> None:
    q, k = heads(1, 3, 4, 12), heads(1, 2, 4, 12, seed=1)
    cos, sin = angles(1, 4, 6)
    reference = lambda q, k, cos, sin: (paper(q, cos, sin), paper(k, cos, sin))  # noqa: E731
    once = partial(apply_rotary_pos_emb, interleaved=True, rotary_dim=12, backend=backend)
    check_op(once, reference, [q, k, cos, sin])
    both = partial(apply_rotary_pos_emb, interleaved=True, backend=backend)
    wide = [cos.repeat_interleave(2, -1), sin.repeat_interleave(2, -1)]
    assert all(torch.equal(a, b) for a, b in zip(both(q, k, *wide), once(q, k, cos, sin), strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_angles_given_once_and_one_tensor_alone(backend: str) -> None:
    q, k = heads(1, 4, 9, 16), heads(1, 2, 9, 16, seed=1)
    cos, sin = angles(1, 9, 8)
    double = (torch.cat((cos, cos), -1), torch.cat((sin, sin), -1))
    expected = apply_rotary_pos_emb(q, k, *double, backend=backend)
    given_once = apply_rotary_pos_emb(q, k, cos, sin, rotary_dim=16, backend=backend)
    assert all(torch.equal(a, b) for a, b in zip(expected, given_once, strict=True))
    check_op(partial(rope, backend=backend), lambda q, cos, sin: hf(q, q, cos, sin)[0], [q, *double])
    assert torch.equal(rope(k, *double, backend=backend), expected[1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_angles_of_positions_are_looked_up(backend: str) -> None:
    q, k = heads(1, 3, 12, 8), heads(1, 2, 12, 8, seed=1)
    cos, sin = angles(40, 4)
    positions = torch.tensor([[0, 1, 2, 0, 1, 39, 5, 6, 7, 8, 0, 1]], device=q.device)

    def reference(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        return hf(q, k, *(torch.cat((each, each), -1)[positions] for each in (cos, sin)))

    check_op(partial(rope_cached, backend=backend), reference, [q, k, cos, sin, positions])
    packed = [each.detach()[0].transpose(0, 1).requires_grad_() for each in (q, k)]
    results = rope_cached(*packed, cos, sin, positions[0].int(), backend=backend)
    for ours, right in zip(results, reference(q, k, cos, sin, positions), strict=True):
        assert torch.allclose(ours, right[0].transpose(0, 1), atol=1e-6)


def test_a_position_outside_the_table_is_not_read() -> None:
    q, (cos, sin) = heads(1, 1, 3, 8), angles(4, 4)
    positions = torch.tensor([[0, 4, -1]], device=q.device)
    turned, _ = rope_cached(q, q, cos, sin, positions, backend="triton")
    assert turned[0, 0].isnan().any(-1).tolist() == [False, True, True]


@pytest.mark.parametrize("backend", BACKENDS)
def test_writing_in_place_gives_the_same_and_the_same_gradients(backend: str) -> None:
    weight, x = random(12, 8, seed=3), random(2, 5, 8, seed=4)
    cos, sin = twice(2, 5, 2)

    def run(inplace: bool) -> tuple[Tensor, ...]:
        q = torch.nn.functional.linear(x, weight).view(2, 5, 3, 4).transpose(1, 2)
        k = (x * 2).view(2, 5, 2, 4).transpose(1, 2)
        before = q.data_ptr()
        turned, other = apply_rotary_pos_emb(q, k, cos, sin, inplace=inplace, backend=backend)
        assert (turned.data_ptr() == before) == inplace
        loss = (turned.sum(1) * other.sum(1)).square().sum()
        return turned, other, *torch.autograd.grad(loss, (x, weight))

    for ours, right in zip(run(inplace=True), run(inplace=False), strict=True):
        assert torch.equal(ours, right)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        rope(heads(1, 1, 5, 4), cos[:1], sin[:1], inplace=True, backend=backend)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(0, 33), st.booleans())
def test_lengths_of_vectors_are_kept(tokens: int, q_heads: int, pairs: int, rest: int, interleaved: bool) -> None:
    q, k = heads(tokens, q_heads, 2 * pairs + rest), heads(tokens, 1, 2 * pairs + rest, seed=1)
    cos, sin = angles(tokens, pairs)
    how = {"rotary_dim": 2 * pairs, "interleaved": interleaved, "backend": "triton"}
    for before, after in zip((q, k), apply_rotary_pos_emb(q, k, cos, sin, **how), strict=True):
        assert torch.allclose(before.norm(dim=-1), after.norm(dim=-1), rtol=1e-5)
        assert torch.equal(before[..., 2 * pairs :], after[..., 2 * pairs :])


@pytest.mark.parametrize("backend", BACKENDS)
def test_torch_knows_the_op(backend: str) -> None:
    q, k = heads(1, 2, 2, 2), heads(1, 1, 2, 2, seed=1)
    positions = torch.tensor([[0, 1]], device=q.device)
    if backend == "reference":
        check_registration(partial(apply_rotary_pos_emb, backend=backend), [q, k, *twice(1, 2, 1)])
        check_registration(partial(rope_cached, backend=backend), [q, k, *angles(3, 1), positions])
    x = random(1, 3, 2, 6, grad=False)
    torch.library.opcheck(torch.ops.sft_kernels.rope_rotate_, (x, *twice(1, 3, 2), None, False, False, backend))


def test_either_may_be_frozen_or_empty() -> None:
    q, k, table = heads(1, 2, 3, 4), heads(1, 1, 3, 4, seed=1), twice(1, 3, 2)
    for pair in ([q, k.detach()], [q.detach(), k]):
        check_op(partial(apply_rotary_pos_emb, backend="triton"), hf, [*pair, *table])
    check_op(
        partial(apply_rotary_pos_emb, backend="triton"), hf, [heads(1, 2, 0, 4), heads(1, 1, 0, 4), *twice(1, 0, 2)]
    )


def test_what_does_not_fit_is_refused() -> None:
    q, k = torch.ones(1, 2, 3, 8), torch.ones(1, 1, 3, 8)
    cos = torch.ones(1, 3, 4)
    with pytest.raises(ValueError, match="rotary_dim=4 if half of a head is turned, or rotary_dim=8"):
        apply_rotary_pos_emb(q, k, cos, cos)
    with pytest.raises(ValueError, match="rotary_dim is 6"):
        apply_rotary_pos_emb(q, k, cos, cos, rotary_dim=6)
    with pytest.raises(ValueError, match=r"cos is \[1, 2, 8\]"):
        apply_rotary_pos_emb(q, k, torch.ones(1, 2, 8), torch.ones(1, 2, 8))
    with pytest.raises(ValueError, match=r"q is torch\.float32"):
        apply_rotary_pos_emb(q, k.half(), torch.ones(1, 3, 8), torch.ones(1, 3, 8))
    with pytest.raises(ValueError, match="get no gradient"):
        apply_rotary_pos_emb(q, k, torch.ones(1, 3, 8, requires_grad=True), torch.ones(1, 3, 8))
    with pytest.raises(ValueError, match="unsqueeze_dim=3"):
        apply_rotary_pos_emb(q, k, cos, cos, 3, rotary_dim=8)
    with pytest.raises(ValueError, match="tokens are"):
        rope_cached(q, k, torch.ones(9, 4), torch.ones(9, 4), torch.zeros(1, 4, dtype=torch.int64))
