"""Which attention is chosen, and how other libraries are called: by keyword, with their own way to say "open"."""

from typing import Any

import pytest
import torch
import torch.nn.attention.varlen
from torch import Tensor

from sft_kernels import cu_seqlens_from_lengths, flash_attn_varlen_func, implementations, optional
from sft_kernels.ops.varlen_attention import Boundaries, Call, libraries
from sft_kernels.testing.inputs import random

ENDS = cu_seqlens_from_lengths([3, 4])
CALL = Call(Boundaries(ENDS, ENDS, 4, 4), 0.25)


def tensors(heads: int = 2, dim: int = 8, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.randn(7, count, dim, dtype=dtype) for count in (heads, 1, 1)]


def reasons(call: Call = CALL, sinks: Tensor | None = None, **shape: Any) -> dict[str, str | None]:
    return implementations("varlen_attention", *tensors(**shape), sinks, call)


def test_on_the_cpu_sdpa_runs_and_the_reference_where_it_cannot() -> None:
    found = reasons()
    assert list(found) == [*libraries.ATTEND, "triton", "flex", "sdpa", "reference"]
    assert found["sdpa"] is None
    assert reasons(CALL._replace(left=3, right=0))["sdpa"] is None
    for call, sinks in (
        (CALL._replace(softcap=2.0), None),
        (CALL._replace(return_lse=True), None),
        (CALL, torch.ones(2)),
    ):
        assert "torch's scaled_dot_product_attention" in str(reasons(call, sinks)["sdpa"])
        assert reasons(call, sinks)["reference"] is None


def test_heads_and_scales_that_kernels_cannot_take_have_a_reason() -> None:
    assert reasons(dim=264)["triton"] == "heads have 264 elements, and kernels have tiles up to 256"
    assert "softmax_scale is -1.0" in str(reasons(CALL._replace(scale=-1.0))["triton"])


def test_a_choice_that_cannot_be_honoured_names_what_can() -> None:
    q, k, v = tensors()
    with pytest.raises(ValueError, match=r"backend= asks for 'flash_attn_3', which cannot run here: .*sdpa, reference"):
        flash_attn_varlen_func(q, k, v, ENDS, ENDS, 4, 4, backend="flash_attn_3")


@pytest.mark.parametrize("name", libraries.ATTEND)
def test_a_library_on_the_cpu_has_a_reason(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "function", lambda *_: torch.nn.attention.varlen.varlen_attn)
    assert reasons(dtype=torch.bfloat16)[name] == "tensors are on 'cpu', and it needs a CUDA device"


@pytest.mark.parametrize(
    ("name", "call", "sinks", "reason"),
    [
        ("torch_varlen", CALL._replace(softcap=1.0), None, "it has no softcap"),
        ("torch_varlen", CALL._replace(deterministic=True), None, "deterministic only under torch.use_deterministic"),
    ],
)
def test_what_a_library_lacks_is_named(name: str, call: Call, sinks: Tensor | None, reason: str) -> None:
    assert reason in str(reasons(call, sinks)[name])


class Recorder:
    """Stands where a library would: notes its arguments, and answers as the libraries do."""

    def __init__(self, *results: Any) -> None:
        self.results = results

    def __call__(self, **named: Any) -> Any:
        self.named = named
        return self.results if len(self.results) > 1 else self.results[0]


@pytest.mark.parametrize(
    ("name", "results", "expected"),
    [
        ("flash_attn_2", ("out",), {"window_size": (5, 0), "causal": True, "dropout_p": 0.0, "cu_seqlens_q": ENDS}),
        ("flash_attn_3", ("out", "lse"), {"window_size": (5, 0), "max_seqlen_k": 4, "softmax_scale": 0.25}),
        ("flash_attn_4", ("out", "lse"), {"window_size": (5, 0), "softcap": 0.0, "deterministic": False}),
        ("torch_varlen", ("out",), {"window_size": (5, 0), "enable_gqa": True, "max_q": 4, "cu_seq_k": ENDS}),
    ],
)
def test_libraries_are_called_by_keyword(
    name: str, results: tuple[Any, ...], expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Recorder(*results)
    monkeypatch.setattr(optional, "function", lambda *_: library)
    out, _ = libraries.ATTEND[name](*tensors(), None, CALL._replace(left=5, right=0))
    assert out == "out"
    assert all(library.named[key] is value or library.named[key] == value for key, value in expected.items())


def test_flash_attn_4_is_told_of_open_windows_by_none_and_gets_sinks(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Recorder("out", "lse")
    monkeypatch.setattr(optional, "function", lambda *_: library)
    assert libraries.ATTEND["flash_attn_4"](*tensors(), torch.ones(2), CALL) == ("out", "lse")
    assert library.named["window_size"] == (None, None)
    assert library.named["learnable_sink"].dtype == torch.bfloat16


FLEX: dict[str, dict[str, Any]] = {
    "causal": {"causal": True},
    "window, softcap and sinks": {"causal": True, "window_size": (5, 0), "softcap": 2.0},
    "both sides": {"window_size": (3, 2)},
}


@pytest.mark.parametrize("form", FLEX)
def test_flex_attention_under_a_mask_of_documents_is_the_reference(form: str) -> None:
    ends, ends_k = cu_seqlens_from_lengths([9, 0, 24]), cu_seqlens_from_lengths([11, 2, 21])
    q, k, v = (random(total, heads, 16, seed=heads + total) for total, heads in ((33, 4), (34, 2), (34, 2)))
    sinks = random(4, seed=3) if "sinks" in form else None
    for ends_of_keys, keys in ((ends, slice(33)), (ends_k, slice(34))):
        call = (q, k[keys], v[keys], ends, ends_of_keys, 24, 24)
        with torch.no_grad():
            found, wanted = (
                flash_attn_varlen_func(*call, sinks=sinks, return_lse=True, backend=name, **FLEX[form])
                for name in ("flex", "reference")
            )
        for actual, expected in zip(found, wanted, strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_flex_attention_on_a_cpu_refuses_a_backward_pass_and_names_what_can() -> None:
    q, k, v = (random(7, heads, 16) for heads in (2, 1, 1))
    with pytest.raises(
        ValueError, match=r"'flex', which cannot run here: .*no backward pass on a CPU\. .*sdpa, reference"
    ):
        flash_attn_varlen_func(q, k, v, ENDS, ENDS, 4, 4, backend="flex")


def test_a_library_that_is_not_there_is_none() -> None:
    assert optional.function("no_such_library.at_all", "f") is None
    assert optional.function("math", "no_such_function") is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", [*libraries.ATTEND, "triton", "flex", "sdpa"])
@pytest.mark.parametrize("form", [{}, {"causal": True}, {"causal": True, "window_size": (16, 0)}], ids=str)
def test_every_implementation_agrees_with_the_reference_on_a_gpu(name: str, form: dict[str, Any]) -> None:
    lengths = [97, 1, 200]
    ends = cu_seqlens_from_lengths(lengths, device="cuda")
    low = [random(298, heads, 64, dtype=torch.bfloat16, seed=heads + i) for i, heads in enumerate((8, 2, 2))]
    exact = [x.detach().double().requires_grad_() for x in low]
    call = Call(Boundaries(ends, ends, 200, 200), 0.125)
    reason = implementations("varlen_attention", *low, None, call)[name]
    if reason is not None:
        pytest.skip(reason)
    ours = flash_attn_varlen_func(*low, ends, ends, 200, 200, backend=name, **form)
    wanted = flash_attn_varlen_func(*exact, ends, ends, 200, 200, backend="reference", **form)
    direction = torch.randn_like(ours)
    found = torch.autograd.grad(ours, low, direction)
    right = torch.autograd.grad(wanted, exact, direction.double())
    for actual, expected in zip([ours, *found], [wanted, *right], strict=True):
        assert (actual.double() - expected).norm() <= 1e-2 * expected.norm()
