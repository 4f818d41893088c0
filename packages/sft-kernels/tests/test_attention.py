"""What runs on the CPU, the reference and SDPA per document, against SDPA with a dense float64 mask."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_kernels import cu_seqlens_from_lengths, document_causal_mask, flash_attn_varlen_func

F = torch.nn.functional


def make(lengths_q, lengths_k, heads=4, kv_heads=2, dim=5, dim_v=5, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [
        (sum(lengths_q), heads, dim),
        (sum(lengths_k), kv_heads, dim),
        (sum(lengths_k), kv_heads, dim_v),
    ]
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return [tensor.to(dtype).requires_grad_() for tensor in drawn]


def attend(q, k, v, lengths_q, lengths_k, **kwargs):
    boundaries = cu_seqlens_from_lengths(lengths_q), cu_seqlens_from_lengths(lengths_k)
    longest = max(lengths_q, default=0), max(lengths_k, default=0)
    return flash_attn_varlen_func(q, k, v, *boundaries, *longest, **kwargs)


def dense_mask(lengths_q, lengths_k, causal=False, window=(-1, -1)):
    """Who sees whom, pair by pair: same document, and the bottom-right aligned distance within the window."""
    left, right = window[0], 0 if causal else window[1]
    queries = [(d, i) for d, length in enumerate(lengths_q) for i in range(length)]
    keys = [(d, j) for d, length in enumerate(lengths_k) for j in range(length)]
    mask = torch.zeros(len(queries), len(keys), dtype=torch.bool)
    for row, (document, i) in enumerate(queries):
        for column, (other, j) in enumerate(keys):
            distance = j - (i + lengths_k[document] - lengths_q[document])
            in_window = (left < 0 or distance >= -left) and (right < 0 or distance <= right)
            mask[row, column] = document == other and in_window
    return mask


def sdpa(q, k, v, mask, scale=None):
    out = F.scaled_dot_product_attention(
        q.transpose(0, 1)[None], k.transpose(0, 1)[None], v.transpose(0, 1)[None],
        attn_mask=mask, scale=scale, enable_gqa=True,
    )  # fmt: skip
    return out[0].transpose(0, 1)


def assert_same_with_gradients(actual, expected, inputs):
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=expected.dtype)
    ours = torch.autograd.grad(actual, inputs, direction, retain_graph=True)
    theirs = torch.autograd.grad(expected, inputs, direction)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


BACKENDS = ("sdpa", "reference")
PACKS = [[5], [3, 2, 4], [1, 1, 7], [2, 0, 3], [0, 0, 6], [13, 1]]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lengths", PACKS, ids=str)
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (6, 2), (4, 1)], ids=str)
@pytest.mark.parametrize(
    "form",
    [{}, {"causal": True}, {"window": (2, 1)}, {"window": (0, -1)}, {"causal": True, "window": (2, 5)}],
    ids=str,
)
def test_forward_and_backward_equal_sdpa_with_a_dense_mask(lengths, heads, kv_heads, form, backend):
    q, k, v = make(lengths, lengths, heads, kv_heads)
    kwargs = {"causal": form.get("causal", False), "window_size": form.get("window", (-1, -1))}
    actual = attend(q, k, v, lengths, lengths, backend=backend, **kwargs)
    expected = sdpa(q, k, v, dense_mask(lengths, lengths, **form))
    assert_same_with_gradients(actual, expected, (q, k, v))


def test_causal_equals_sdpa_with_the_packages_own_document_mask():
    lengths = [4, 1, 6]
    q, k, v = make(lengths, lengths)
    actual = attend(q, k, v, lengths, lengths, causal=True)
    expected = sdpa(q, k, v, document_causal_mask(cu_seqlens_from_lengths(lengths)))
    assert_same_with_gradients(actual, expected, (q, k, v))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("lengths_q", "lengths_k"), [([2, 1, 3], [5, 4, 3]), ([1, 2], [3, 6])], ids=["mixed", "decoding"]
)
@pytest.mark.parametrize("window", [(-1, -1), (1, -1)], ids=str)
def test_fewer_queries_than_keys_align_at_the_bottom_right(lengths_q, lengths_k, window, backend):
    q, k, v = make(lengths_q, lengths_k)
    actual = attend(q, k, v, lengths_q, lengths_k, causal=True, window_size=window, backend=backend)
    expected = sdpa(q, k, v, dense_mask(lengths_q, lengths_k, causal=True, window=window))
    assert_same_with_gradients(actual, expected, (q, k, v))


def test_values_may_have_a_width_of_their_own_and_the_scale_is_an_argument():
    lengths = [3, 4]
    q, k, v = make(lengths, lengths, dim=6, dim_v=3)
    actual = attend(q, k, v, lengths, lengths, softmax_scale=0.3)
    assert actual.shape == (7, 4, 3)
    assert_same_with_gradients(actual, sdpa(q, k, v, dense_mask(lengths, lengths), scale=0.3), (q, k, v))


@pytest.mark.parametrize("window", [(-1, -1), (2, 0)], ids=str)
def test_softcap_and_sinks_equal_the_softmax_written_out(window):
    lengths = [4, 3]
    q, k, v = make(lengths, lengths)
    sinks = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64, requires_grad=True)
    actual = attend(
        q,
        k,
        v,
        lengths,
        lengths,
        causal=True,
        window_size=window,
        softcap=1.5,
        softmax_scale=0.7,
        sinks=sinks,
    )
    scores = torch.einsum("qhd,khd->hqk", q, k.repeat_interleave(2, dim=1)) * 0.7
    capped = 1.5 * torch.tanh(scores / 1.5)
    seen = dense_mask(lengths, lengths, causal=True, window=window)
    weights = capped.exp() * seen
    weights = weights / (weights.sum(-1, keepdim=True) + sinks.exp()[:, None, None])
    expected = torch.einsum("hqk,khd->qhd", weights, v.repeat_interleave(2, dim=1))
    assert_same_with_gradients(actual, expected, (q, k, v, sinks))


@pytest.mark.parametrize("with_sinks", [False, True])
def test_lse_is_the_log_of_the_softmax_denominator(with_sinks):
    lengths = [3, 5]
    q, k, v = make(lengths, lengths)
    sinks = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    extra = {"sinks": sinks} if with_sinks else {}
    _, lse = attend(q, k, v, lengths, lengths, return_lse=True, **extra)
    scores = torch.einsum("qhd,khd->hqk", q, k.repeat_interleave(2, dim=1)) / math.sqrt(5)
    total = (scores.exp() * dense_mask(lengths, lengths)).sum(-1)
    expected = torch.log(total + sinks.exp()[:, None] if with_sinks else total)
    assert lse.shape == (4, 8)
    assert_same_with_gradients(lse, expected, (q, k, sinks) if with_sinks else (q, k))


def test_gradcheck_with_everything_on():
    lengths_q, lengths_k = [2, 0, 2], [3, 1, 2]
    q, k, v = make(lengths_q, lengths_k, heads=2, kv_heads=1, dim=3, dim_v=2)
    sinks = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)

    def call(q, k, v, sinks):
        return attend(
            q,
            k,
            v,
            lengths_q,
            lengths_k,
            causal=True,
            window_size=(1, 0),
            softcap=2.0,
            sinks=sinks,
            return_lse=True,
        )

    assert torch.autograd.gradcheck(call, (q, k, v, sinks))  # every input entry, both outputs


def test_queries_that_see_no_key_give_zeros_and_zero_gradients():
    # More queries than keys, causal: the first two queries of the first document stand left of its only key.
    lengths_q, lengths_k = [3, 2], [1, 0]
    q, k, v = make(lengths_q, lengths_k)
    out, lse = attend(q, k, v, lengths_q, lengths_k, causal=True, return_lse=True)
    blind = [0, 1, 3, 4]
    assert torch.equal(out[blind], torch.zeros(4, 4, 5, dtype=torch.float64))
    assert torch.equal(lse[:, blind], torch.full((4, 4), math.inf, dtype=torch.float64))
    torch.testing.assert_close(out[2], v[0].repeat_interleave(2, dim=0))
    gradients = torch.autograd.grad((out * 3.0).sum() + lse[:, 2].sum(), (q, k, v))
    assert all(g.isfinite().all() for g in gradients)
    assert torch.equal(gradients[0][blind], torch.zeros(4, 4, 5, dtype=torch.float64))
    assert gradients[2].abs().sum() > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_documents_without_queries_or_keys_keep_the_graph(backend):
    q, k, v = make([2, 0, 0], [0, 3, 0])
    out = attend(q, k, v, [2, 0, 0], [0, 3, 0], backend=backend)
    assert torch.equal(out, torch.zeros(2, 4, 5, dtype=torch.float64))
    assert all(torch.equal(g, torch.zeros_like(g)) for g in torch.autograd.grad(out.sum(), (q, k, v)))


def test_queries_that_see_no_key_leave_their_weight_to_the_sink():
    q, k, v = make([2], [0])
    sinks = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    out, lse = attend(q, k, v, [2], [0], sinks=sinks, return_lse=True)
    assert torch.equal(out, torch.zeros(2, 4, 5, dtype=torch.float64))
    assert torch.equal(lse, sinks[:, None].expand(4, 2))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("lengths", [[], [0], [0, 0]], ids=str)
def test_a_batch_of_no_tokens_gives_no_rows_and_can_be_differentiated(lengths, backend):
    q, k, v = make(lengths, lengths)
    out = attend(q, k, v, lengths, lengths, causal=True, backend=backend)
    assert out.shape == (0, 4, 5)
    assert attend(q, k, v, lengths, lengths, return_lse=True)[1].shape == (4, 0)
    if lengths:
        assert [g.shape for g in torch.autograd.grad(out.sum(), (q, k, v))] == [t.shape for t in (q, k, v)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=5),
    st.integers(-1, 4),
    st.booleans(),
    st.integers(0, 10),
    st.sampled_from(BACKENDS),
)
def test_a_document_does_not_change_with_what_it_is_packed_with(lengths, left, causal, seed, backend):
    q, k, v = make(lengths, lengths, seed=seed)
    kwargs = {"causal": causal, "window_size": (left, -1), "backend": backend}
    packed = attend(q, k, v, lengths, lengths, **kwargs)
    start = 0
    for length in lengths:
        own = slice(start, start + length)
        alone = attend(q[own], k[own], v[own], [length], [length], **kwargs)
        assert torch.equal(packed[own], alone)
        start += length


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 4e-3), (torch.float16, 5e-4)])
def test_low_precision_differs_from_float64_by_the_rounding_of_the_result(dtype, tolerance):
    lengths = [9, 20]
    inputs = make(lengths, lengths, dtype=dtype)
    out, lse = attend(*inputs, lengths, lengths, causal=True, return_lse=True)
    exact = attend(*[t.double() for t in inputs], lengths, lengths, causal=True)
    assert out.dtype == dtype
    assert lse.dtype == torch.float32
    assert (out.double() - exact).abs().max() <= tolerance * exact.abs().max()


def test_inputs_may_be_strided_views_and_are_not_written_to():
    lengths = [3, 2]
    packed = torch.randn(5, 3, 4, 5, dtype=torch.float64)
    before = packed.clone()
    q, k, v = packed.unbind(1)
    assert not q.is_contiguous()
    torch.testing.assert_close(
        attend(q, k, v, lengths, lengths), attend(*(t.contiguous() for t in (q, k, v)), lengths, lengths)
    )
    assert torch.equal(packed, before)


def test_positional_order_is_flash_attns():
    lengths = [2, 3]
    q, k, v = make(lengths, lengths)
    boundaries = cu_seqlens_from_lengths(lengths)
    by_position = flash_attn_varlen_func(
        q, k, v, boundaries, boundaries, 3, 3, 0.0, 0.25, True, (1, 0), 4.0, None, True, False, None
    )
    by_name = attend(
        q,
        k,
        v,
        lengths,
        lengths,
        softmax_scale=0.25,
        causal=True,
        window_size=(1, 0),
        softcap=4.0,
        deterministic=True,
    )
    assert torch.equal(by_position, by_name)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"dropout_p": 0.1}, r"dropout_p is 0.1; .* pass 0.0"),
        ({"alibi_slopes": torch.ones(4)}, "alibi_slopes is Tensor; ALiBi is not supported, pass None"),
        ({"return_attn_probs": True}, "return_attn_probs is True; pass False, and return_lse=True"),
        ({"block_table": torch.zeros(1, 1)}, "block_table is Tensor; there is no paged cache"),
        ({"window_size": (-2, 0)}, r"window_size is \(-2, 0\); each side is a number of tokens, or -1"),
        ({"softcap": -1.0}, "softcap is -1.0; pass a positive number"),
        ({"softcap": float("nan")}, "softcap is nan; pass a positive number"),
        ({"sinks": torch.ones(2)}, r"sinks is torch.float32 of shape \[2\]; expected floats of shape \[4\]"),
        ({"sinks": torch.ones(4, dtype=torch.int64)}, "sinks is torch.int64"),
    ],
)
def test_unsupported_arguments_are_refused_with_the_fix(kwargs, message):
    q, k, v = make([3], [3])
    with pytest.raises(ValueError, match=message):
        attend(q, k, v, [3], [3], **kwargs)


def call_with(**changes):
    q, k, v = make([3, 2], [3, 2])
    boundaries = cu_seqlens_from_lengths([3, 2])
    arguments = {
        "q": q, "k": k, "v": v, "cu_seqlens_q": boundaries, "cu_seqlens_k": boundaries,
        "max_seqlen_q": 3, "max_seqlen_k": 3,
    }  # fmt: skip
    return flash_attn_varlen_func(**{**arguments, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_seqlen_q": 2}, "max_seqlen_q is 2 but a document has 3 tokens; kernels would skip the rest"),
        ({"max_seqlen_k": 1}, r"max_seqlen_k is 1 .* Pass sft_kernels.max_seqlen\(cu_seqlens_k\)"),
        ({"cu_seqlens_q": cu_seqlens_from_lengths([3, 1])}, "cu_seqlens_q ends at 4 but there are 5 tokens"),
        ({"cu_seqlens_k": cu_seqlens_from_lengths([3, 2, 0])}, "describes 2 documents and cu_seqlens_k 3"),
        (
            {"q": torch.zeros(1, 5, 4, 5, dtype=torch.float64)},
            r"q has shape \[1, 5, 4, 5\], expected \[tokens, heads",
        ),
        ({"k": torch.zeros(5, 2, 5)}, "k is torch.float32 on cpu, q is torch.float64 on cpu"),
        ({"k": torch.zeros(5, 2, 4, dtype=torch.float64)}, "q and k share head_dim"),
        ({"v": torch.zeros(4, 2, 5, dtype=torch.float64)}, "k and v share tokens and heads"),
        (
            {"q": torch.zeros(5, 3, 5, dtype=torch.float64)},
            "q has 3 heads and k has 2; query heads are a multiple",
        ),
        ({"q": torch.zeros(5, 4, 5, dtype=torch.int64)}, "q is torch.int64"),
    ],
)
def test_arguments_that_break_the_contract_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        call_with(**changes)
