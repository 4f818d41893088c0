"""The head and its loss in parts, in triton and in plain PyTorch, against all logits at once."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from sft_kernels import HeadLora, cross_entropy, linear_cross_entropy, linear_logprobs
from sft_kernels.ops.linear_cross_entropy import chunked
from sft_kernels.testing import check_op, check_registration
from sft_kernels.testing.inputs import random

BACKENDS = ("triton", "torch", "reference")
PLAIN = {"reduction": "mean"}
EVERYTHING = {"reduction": "sum", "label_smoothing": 0.1, "z_loss": 1e-2, "softcap": 3.0, "logit_scale": 0.7}
EACH = {"reduction": "none", "label_smoothing": 0.2, "softcap": 30.0, "logit_scale": 2.0}
AGAIN = EVERYTHING | {"reduction": "mean", "recompute": True}
N, H, V, R = 17, 13, 65, 3


def targets(tokens: int = N, vocabulary: int = V, ignored: int = 4) -> Tensor:
    found = torch.randint(0, vocabulary, (tokens,), generator=torch.Generator().manual_seed(tokens))
    found[::ignored] = -100
    return found.to(random(1).device)


def operands(dtype: torch.dtype = torch.float32, tokens: int = N) -> list[Tensor]:
    """hidden, weight, bias, and a and b of a low-rank addition."""
    shapes = ((tokens, H), (V, H), (V,), (R, H), (V, R))
    return [random(*shape, dtype=dtype, seed=seed) for seed, shape in enumerate(shapes)]


def fused(hidden: Tensor, weight: Tensor, bias: Tensor, a: Tensor, b: Tensor, *, target: Tensor, **how: object):
    return linear_cross_entropy(hidden, weight, target, bias, lora=HeadLora(a, b, 0.5), **how)


def written_out(hidden: Tensor, weight: Tensor, bias: Tensor, a: Tensor, b: Tensor, *, target: Tensor, **how: object):
    logits = hidden @ weight.T + bias + 0.5 * (hidden @ a.T) @ b.T
    how = {name: value for name, value in how.items() if name not in ("recompute", "chunk_tokens")}
    return cross_entropy(logits, target, backend="reference", **how)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", [PLAIN, EVERYTHING, EACH, AGAIN], ids=["plain", "everything", "each", "again"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_losses_and_gradients_are_as_accurate_as_plain_pytorch(dtype: torch.dtype, how: dict, backend: str) -> None:
    bound = how | {"target": targets(), "token_weight": random(N, seed=9, grad=False).abs()}
    op = partial(fused, backend=backend, chunk_tokens=7, **bound)
    check_op(op, partial(written_out, **bound), operands(dtype), factor=6.0, products=True)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    tokens=st.integers(1, 70),
    ignored=st.integers(1, 5),
    chunk=st.integers(1, 80),
    given_number=st.booleans(),
    recompute=st.booleans(),
)
def test_neither_chunks_nor_ignored_tokens_change_the_result(
    tokens: int, ignored: int, chunk: int, given_number: bool, recompute: bool
) -> None:
    inputs = [each.detach().double().requires_grad_() for each in operands(tokens=tokens)]
    target = targets(tokens, ignored=ignored)
    number = int((target != -100).sum()) if given_number else None
    found = fused(*inputs, target=target, chunk_tokens=chunk, n_valid=number, recompute=recompute, backend="torch")
    wanted = written_out(*inputs, target=target)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found, inputs), torch.autograd.grad(wanted, inputs))


@pytest.mark.parametrize("backend", BACKENDS)
def test_logprobs_and_entropy_are_those_of_the_distribution(backend: str) -> None:
    target = targets()

    def exact(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        wide = (hidden @ weight.T if hidden.dtype == torch.float64 else (hidden @ weight.T).float()) / 0.7
        logprobs, has = wide.log_softmax(1), (target != -100)
        chosen = logprobs.gather(1, target.clamp(min=0)[:, None])[:, 0]
        return chosen * has, -(logprobs.exp() * logprobs).sum(1) * has

    op = partial(linear_logprobs, target=target, temperature=0.7, return_entropy=True, chunk_tokens=7, backend=backend)
    check_op(op, exact, operands()[:2], factor=6.0, products=True)
    loss, logprobs, entropy = linear_cross_entropy(
        *operands()[:2], target, return_logprobs=True, return_entropy=True, backend=backend
    )
    wanted = linear_logprobs(*operands()[:2], target, return_entropy=True, backend="reference")
    torch.testing.assert_close((logprobs, entropy), tuple(each.detach() for each in wanted))
    torch.testing.assert_close(loss, -wanted[0].sum() / (target != -100).sum())


@pytest.mark.parametrize("backend", BACKENDS)
def test_torch_knows_the_op(backend: str) -> None:
    target = targets(3, 5, 2)
    hidden, weight = random(3, 2), random(5, 2, seed=1)
    op = partial(linear_cross_entropy, target=target, label_smoothing=0.1, softcap=3.0, chunk_tokens=1, backend=backend)
    check_registration(op, [hidden, weight])
    if backend == "torch":
        inputs = [hidden, weight, random(5), random(2, 2, seed=2), random(5, 2, seed=3)]
        check_registration(partial(fused, target=target, reduction="none", n_valid=1, backend=backend), inputs)
        check_registration(partial(fused, target=target, return_entropy=True, backend=backend), inputs)


def test_another_number_of_tokens_compiles_nothing_again() -> None:
    counter = CompileCounter()
    compiled = torch.compile(
        lambda x, w, t, n: linear_cross_entropy(x, w, t, num_items=n), backend=counter, fullgraph=True
    )
    weight = random(V, H, seed=1)
    for tokens in (5, 7, 9, 30):
        compiled(random(tokens, H), weight, targets(tokens), torch.ones((), device=weight.device)).backward()
    assert counter.frame_count <= 2  # the second is for numbers of tokens in general


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("tokens", [0, 3])
def test_without_targets_the_loss_and_the_gradients_are_zero(tokens: int, backend: str) -> None:
    inputs, nothing = operands(tokens=tokens), torch.full((tokens,), -100)
    for how in (PLAIN, AGAIN, PLAIN | {"n_valid": 0}):
        loss = fused(*inputs, target=nothing.to(inputs[0].device), backend=backend, **how)
        assert loss.item() == 0
        assert not any(each.any() for each in torch.autograd.grad(loss, inputs))


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_ignored_tokens_and_frozen_weights_cost_no_products(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    product, work = torch.mm, 0

    def noted(left: Tensor, right: Tensor, **how: object) -> Tensor:
        nonlocal work
        work += left.shape[0] * left.shape[1] * right.shape[1]
        return product(left, right, **how)

    monkeypatch.setattr(torch, "mm", noted)
    hidden, weight, *_ = operands()
    one = int((targets() != -100).sum()) * H * V
    for products, of in ((3, weight), (2, weight.detach())):
        work = 0
        linear_cross_entropy(hidden, of, targets(), backend=backend)
        assert work == products * one
    loss = linear_cross_entropy(hidden, weight, targets(), recompute=True, backend=backend)
    work = 0
    loss.backward()
    assert work == 3 * one
    with torch.no_grad():
        work = 0
        linear_cross_entropy(hidden, weight, targets(), backend=backend)
        assert work == one


def test_tied_weights_get_both_gradients() -> None:
    weight, ids = random(V, H), targets(ignored=99).clamp(min=0)
    found = linear_cross_entropy(weight[ids], weight, targets())
    wanted = cross_entropy(weight[ids] @ weight.T, targets())
    torch.testing.assert_close(torch.autograd.grad(found, weight), torch.autograd.grad(wanted, weight))


def test_weights_of_tokens_are_differentiable() -> None:
    hidden, weight, *_ = operands()
    weights = random(N, seed=5)
    found = linear_cross_entropy(hidden, weight, targets(), token_weight=weights, reduction="sum")
    each = linear_cross_entropy(hidden, weight, targets(), reduction="none")
    torch.testing.assert_close(torch.autograd.grad(found, weights)[0], each)


@pytest.mark.parametrize("backend", BACKENDS)
def test_autocast_casts_as_it_does_for_a_linear_layer(backend: str) -> None:
    inputs, kind = operands(), random(1).device.type
    with torch.autocast(kind, torch.bfloat16):
        found = fused(*inputs, target=targets(), backend=backend)
    low = fused(*[each.bfloat16() for each in inputs], target=targets(), backend=backend)
    assert found.dtype == torch.float32
    assert torch.equal(found, low)
    assert all(each.dtype == torch.float32 for each in torch.autograd.grad(found, inputs))


def test_a_sum_over_many_tokens_does_not_overflow_float16() -> None:
    hidden = torch.full((600, 1), 200.0, dtype=torch.float16, requires_grad=True)
    weight = torch.zeros(2, 1, dtype=torch.float16, requires_grad=True)
    loss = linear_cross_entropy(hidden, weight, torch.zeros(600, dtype=torch.int64), backend="torch")
    (gradient,) = torch.autograd.grad(loss, weight)
    torch.testing.assert_close(gradient[:, 0], torch.tensor([-100.0, 100.0], dtype=torch.float16))


@pytest.mark.parametrize("claimed", [0, 5, N])
def test_a_wrong_number_of_targets_is_never_a_number(claimed: int) -> None:
    assert linear_cross_entropy(*operands()[:2], targets(), n_valid=claimed, backend="torch").isnan()


def test_chunks_are_large_and_equal() -> None:
    like = torch.empty(0, dtype=torch.bfloat16, device="meta")
    assert chunked.chunk_size(1000, 50, like) == 1000
    assert chunked.chunk_size(700, 128256, like) == 234  # three of at most 261
    assert chunked.chunk_size(700, 10**9, like) == 117  # six of at most 128
    assert chunked.chunk_size(0, 50, like) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.ones(5, 4)}, r"hidden is \[2, 3\], weight \[5, 4\], target \[2\]"),
        ({"weight": torch.ones(5, 3).half()}, "weight is torch.float16 on cpu and hidden torch.float32"),
        ({"bias": torch.ones(3)}, r"bias is \[3\] and weight \[5, 3\]"),
        ({"lora": HeadLora(torch.ones(2, 3), torch.ones(5, 3), 1.0)}, r"b of lora is \[5, 3\], for a of 2 rows"),
        ({"target": torch.tensor([0, 5])}, r"target\[1\] is outside the vocabulary"),
        ({"backend": "cuda"}, "has no implementation 'cuda'; it has triton, torch, reference"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict, message: str) -> None:
    arguments = {"hidden": torch.ones(2, 3), "weight": torch.ones(5, 3), "target": torch.zeros(2, dtype=torch.int64)}
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(**arguments | change)
    with pytest.raises(ValueError, match=r"temperature is 0.0; it has to be above 0"):
        linear_logprobs(**arguments, temperature=0.0)


SPLIT = """
import sys
import torch
from torch import distributed
from sft_kernels import HeadLora, VocabShard, linear_cross_entropy, linear_logprobs

rank = int(sys.argv[1])
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
generator = torch.Generator().manual_seed(0)
V, mine = 11, slice(0, 4) if rank == 0 else slice(4, 11)
shapes = ((6, 3), (V, 3), (V,), (2, 3), (V, 2))
whole = [torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
target = torch.tensor([0, 10, -100, 4, 3, 7])
parts = [each.detach()[mine if each.shape[0] == V else slice(None)].requires_grad_() for each in whole]
shard = VocabShard(mine.start, V)

def compared(make):
    found, wanted = make(parts, shard), make(whole, None)
    torch.testing.assert_close(found, wanted)
    gradients = torch.autograd.grad(found, parts, allow_unused=True)
    for part, each in zip(gradients, torch.autograd.grad(wanted, whole, allow_unused=True), strict=True):
        if each is None:
            assert part is None
        else:
            torch.testing.assert_close(part, each[mine if each.shape[0] == V else slice(None)])

def loss(values, shard):
    hidden, weight, bias, a, b = values
    lora = HeadLora(a, b, 0.5)
    return linear_cross_entropy(
        hidden, weight, target, bias, lora=lora, label_smoothing=0.1, z_loss=0.01, softcap=2.0, shard=shard
    )

def entropies(values, shard):
    hidden, weight, bias, *_ = values
    logprobs, entropy = linear_logprobs(hidden, weight, target, 0.8, bias, return_entropy=True, shard=shard)
    return (logprobs * entropy).sum()

compared(loss)
compared(entropies)
tokens = slice(0, 3) if rank == 0 else slice(3, 6)  # data or context parallelism
hidden, weight, *_ = whole
items = (target[tokens] != -100).sum()
distributed.all_reduce(items)
share = linear_cross_entropy(hidden[tokens], weight, target[tokens], num_items=items)
(gradient,) = torch.autograd.grad(share, weight)
for each in (share := share.detach(), gradient):
    distributed.all_reduce(each)
wanted = linear_cross_entropy(hidden, weight, target)
torch.testing.assert_close(share, wanted.detach())
torch.testing.assert_close(gradient, torch.autograd.grad(wanted, weight)[0])
distributed.destroy_process_group()
print("same")
"""


def test_two_processes_with_half_of_the_vocabulary_or_of_the_tokens_have_the_same_loss(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SPLIT]
    running = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "meet")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    for process in running:
        out, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
        assert out.split() == ["same"]
