"""Cross entropy of logits, in triton and in the reference, against the formula written out."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sft_kernels import cross_entropy
from sft_kernels.testing import check_op, check_registration
from sft_kernels.testing.inputs import random, sizes

BACKENDS = ("triton", "reference")
PLAIN = {"reduction": "mean", "label_smoothing": 0.0, "z_loss": 0.0, "softcap": None, "logit_scale": 1.0}
EVERYTHING = {"reduction": "sum", "label_smoothing": 0.1, "z_loss": 1e-2, "softcap": 3.0, "logit_scale": 0.7}
EACH = {"reduction": "none", "label_smoothing": 0.2, "z_loss": 0.0, "softcap": 30.0, "logit_scale": 2.0}


def targets(tokens: int, vocabulary: int, ignored: int = 4) -> Tensor:
    """Every `ignored`-th has none, from the first on."""
    found = torch.randint(0, vocabulary, (tokens,), generator=torch.Generator().manual_seed(tokens))
    found[::ignored] = -100
    return found.to("cuda" if torch.cuda.is_available() else "cpu")


def formula(  # as one writes it
    logits: Tensor,
    weights: Tensor | None,
    *,
    target: Tensor,
    reduction: str,
    label_smoothing: float,
    z_loss: float,
    softcap: float | None,
    logit_scale: float,
) -> Tensor:
    z = (logits if logits.dtype == torch.float64 else logits.float()) * logit_scale
    z = softcap * torch.tanh(z / softcap) if softcap else z
    has, lse = target != -100, z.logsumexp(1)
    nll = lse - z.gather(1, target.clamp(min=0)[:, None])[:, 0]
    losses = (1 - label_smoothing) * nll + label_smoothing * (lse - z.mean(1)) + z_loss * lse**2
    losses = losses * has if weights is None else losses * has * weights
    if reduction == "none":
        return losses
    return losses.sum() / ((has if weights is None else has * weights.detach()).sum() if reduction == "mean" else 1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", [PLAIN, EVERYTHING, EACH], ids=["plain", "everything", "each"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_losses_and_gradients_are_as_accurate_as_plain_pytorch(dtype: torch.dtype, how: dict, backend: str) -> None:
    target, weights = targets(9, 65), random(9, seed=3, grad=False).abs().requires_grad_(how is EACH)
    op = partial(partial, cross_entropy, backend=backend, **how)
    check_op(
        lambda logits, weights: op(token_weight=weights)(logits, target),
        partial(formula, target=target, **how),
        [random(9, 65, dtype=dtype), weights],
        factor=4.0,  # a sum is one draw of the error
    )


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.integers(1, 9), sizes(300).filter(lambda size: size > 1))
def test_sizes_around_powers_of_two(rows: int, columns: int) -> None:
    target = targets(rows, columns, 5)
    op = partial(cross_entropy, target=target, reduction="sum", label_smoothing=0.1, backend="triton")
    how = PLAIN | {"reduction": "sum", "label_smoothing": 0.1}
    check_op(op, partial(formula, weights=None, target=target, **how), [random(rows, columns)], factor=4.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_vocabulary_of_several_tiles(backend: str) -> None:
    target = targets(3, 8192 + 63, 2)
    target[1] = 8192 + 60
    op = partial(cross_entropy, target=target, label_smoothing=0.1, backend=backend)
    how = PLAIN | {"label_smoothing": 0.1}
    check_op(op, partial(formula, weights=None, target=target, **how), [random(3, 8192 + 63)], factor=4.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_it_is_torchs_where_torch_has_it(smoothing: float, backend: str) -> None:
    logits, target = random(9, 33), targets(9, 33)
    for reduction in ("mean", "sum", "none"):
        found = cross_entropy(logits, target, reduction=reduction, label_smoothing=smoothing, backend=backend)
        wanted = torch.nn.functional.cross_entropy(logits, target, reduction=reduction, label_smoothing=smoothing)
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("backend", BACKENDS)
def test_torch_knows_the_op(backend: str) -> None:
    target = targets(3, 5)
    op = partial(cross_entropy, target=target, label_smoothing=0.1, z_loss=0.01, softcap=3.0, backend=backend)
    check_registration(op, [random(3, 5)])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("tokens", [0, 3])
def test_without_targets_the_loss_and_the_gradients_are_zero(tokens: int, backend: str) -> None:
    logits, target = random(tokens, 5), torch.full((tokens,), -100)
    loss = cross_entropy(logits, target.to(logits.device), z_loss=0.1, backend=backend)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0
    assert not gradient.any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_parts_of_a_batch_add_up_to_the_whole(backend: str) -> None:
    """As micro batches and processes do: what divides comes from outside."""
    logits, target = random(12, 33), targets(12, 33)
    items = (target != -100).sum()
    whole = cross_entropy(logits, target, backend=backend)
    parts = [
        cross_entropy(logits[at], target[at], num_items=items, backend=backend) for at in (slice(5), slice(5, None))
    ]
    torch.testing.assert_close(sum(parts), whole)
    torch.testing.assert_close(torch.autograd.grad(sum(parts), logits), torch.autograd.grad(whole, logits))


def test_logprobs_near_zero_keep_their_digits() -> None:
    logits = torch.tensor([[30.0, 20.0, 10.0]], dtype=torch.float64)
    for backend in BACKENDS:
        found = cross_entropy(
            random(1, 3, grad=False) * 0 + logits.to(random(1).device), targets(1, 3) * 0, backend=backend
        )
        wanted = torch.nn.functional.cross_entropy(logits, torch.tensor([0]))
        torch.testing.assert_close(found.cpu().double(), wanted, rtol=1e-2, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_target_outside_the_vocabulary_is_never_a_number(backend: str) -> None:
    for outside in (5, -7):
        logits, target = random(2, 5), targets(2, 5) * 0 + outside
        if logits.is_cuda:
            assert cross_entropy(logits, target, backend=backend).isnan()
        else:
            with pytest.raises(ValueError, match=r"target\[0\] is outside the vocabulary"):
                cross_entropy(logits, target, backend=backend)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": torch.zeros(3, dtype=torch.int64)}, r"logits are torch.float32 \[2, 5\] and target \[3\]"),
        ({"target": torch.zeros(2)}, r"target is torch.float32 \[2\]; it has to be int64"),
        ({"reduction": "average"}, "reduction is 'average'"),
        ({"reduction": "sum", "num_items": 3}, "num_items divides with"),
        ({"num_items": torch.ones(2)}, r"num_items is \[2\]"),
        ({"token_weight": torch.ones(3)}, r"token_weight is \[3\] and target \[2\]"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"softcap": 0.0}, "softcap is 0.0"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cross_entropy(torch.ones(2, 5), **{"target": torch.zeros(2, dtype=torch.int64)} | settings)
