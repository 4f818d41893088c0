"""The reference against flash-attn's own kernels, where there is a GPU and the library."""

import pytest
import torch

from sft_kernels import cu_seqlens_from_lengths, flash_attn_varlen_func

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

FORMS = [
    {},
    {"causal": True},
    {"causal": True, "window_size": (16, 0)},
    {"window_size": (8, 24)},
    {"causal": True, "softcap": 20.0},
    {"softmax_scale": 0.05},
]


@pytest.fixture(scope="module")
def flash_attn():
    return pytest.importorskip("flash_attn", reason="needs flash-attn (the flash-attn extra, built locally)")


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(8, 8, 64), (8, 2, 128), (4, 1, 96)], ids=str)
@pytest.mark.parametrize("lengths", [[97], [1, 128, 33], [5, 0, 200, 64]], ids=str)
def test_flash_attn_agrees_with_the_reference(flash_attn, form, heads, kv_heads, dim, lengths):
    torch.manual_seed(0)
    total = sum(lengths)
    shapes = [(total, heads, dim), (total, kv_heads, dim), (total, kv_heads, dim)]
    low = [torch.randn(s, device="cuda", dtype=torch.bfloat16, requires_grad=True) for s in shapes]
    exact = [t.detach().double().requires_grad_() for t in low]
    boundaries = cu_seqlens_from_lengths(lengths, device="cuda")
    shared = (boundaries, boundaries, max(lengths), max(lengths))
    theirs = flash_attn.flash_attn_varlen_func(*low, *shared, **form)
    ours = flash_attn_varlen_func(*exact, *shared, backend="reference", **form)
    direction = torch.randn_like(theirs)
    gradients = torch.autograd.grad(theirs, low, direction)
    expected = torch.autograd.grad(ours, exact, direction.double())
    for actual, reference in zip([theirs, *gradients], [ours, *expected], strict=True):
        # bf16 has 8 bits of mantissa: 2**-8 on the result, a few such roundings on gradients.
        assert (actual.double() - reference).norm() <= 1e-2 * reference.norm()
