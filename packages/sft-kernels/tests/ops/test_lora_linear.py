"""Linear layers and MLPs with adapters against the sum written out, over dense and quantised weights."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sft_kernels.ops.dequantize import QuantState, dequantize
from sft_kernels.ops.lora_linear import Projection, lora_linear, lora_qkv
from sft_kernels.ops.lora_mlp import lora_mlp
from sft_kernels.testing import check_op, check_registration
from sft_kernels.testing.inputs import random

SCALING = 0.5
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
BACKENDS = ("triton", "reference")


def formula(x: Tensor, weight: Tensor, a: Tensor | None, b: Tensor | None, bias: Tensor | None = None) -> Tensor:
    out = functional.linear(x, weight.to(x.dtype), bias)
    return out if a is None else out + functional.linear(functional.linear(x, a), b) * SCALING


def layer(n: int, k: int, r: int, dtype: torch.dtype, seed: int = 0, bias: bool = True) -> list[Any]:
    """Weight, A, B and bias."""
    return [
        random(n, k, dtype=dtype, seed=seed, grad=False),
        random(r, k, dtype=dtype, seed=seed + 1),
        random(n, r, dtype=dtype, seed=seed + 2),
        random(n, dtype=dtype, seed=seed + 3) if bias else None,
    ]


def fused(x: Tensor, weight: Tensor, a: Tensor, b: Tensor, bias: Tensor | None, **rest: Any) -> Tensor:
    return lora_linear(x, weight, a, b, SCALING, bias, **rest)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (63, 65, 33, 4), (65, 32, 64, 16), (0, 5, 7, 2)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_results_and_gradients_are_as_accurate_as_plain_pytorch(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tokens, n, k, r = shape
    inputs = [random(tokens, k, dtype=dtype, seed=9), *layer(n, k, r, dtype)]
    check_op(fused, formula, inputs)


def test_parts_may_be_missing_or_frozen() -> None:
    x, (weight, a, b, bias) = random(2, 3, 33), layer(7, 33, 4, torch.float32)
    check_op(fused, formula, [x, weight, a, b, None])
    check_op(fused, formula, [x, weight, None, None, bias])
    check_op(fused, formula, [x.detach(), weight, a, b.detach(), bias.detach()])
    check_op(fused, formula, [x, weight, a.detach(), b, bias.detach()])


def test_dropout_is_seen_by_the_adapter_alone() -> None:
    def op(x: Tensor, dropped: Tensor, *rest: Tensor) -> Tensor:
        return fused(x, *rest, dropout_x=dropped)

    def plain(x: Tensor, dropped: Tensor, weight: Tensor, a: Tensor, b: Tensor, bias: Tensor) -> Tensor:
        return functional.linear(x, weight, bias) + functional.linear(functional.linear(dropped, a), b) * SCALING

    inputs = [random(5, 33), random(5, 33, seed=1), *layer(7, 33, 4, torch.float32)]
    check_op(op, plain, inputs)
    check_registration(op, [random(3, 4), random(3, 4, seed=1), *layer(5, 4, 2, torch.float32)])


def test_three_layers_share_an_input_and_differ_in_width() -> None:
    def each(form: Callable[..., Any], x: Tensor, *parts: Any) -> tuple[Tensor, ...]:
        return form(x, *[Projection(*parts[i : i + 3], SCALING, parts[i + 3]) for i in (0, 4, 8)])

    def plain(x: Tensor, *layers: Projection) -> tuple[Tensor, ...]:
        return tuple(formula(x, one.weight, one.a, one.b, one.bias) for one in layers)

    parts = [*layer(16, 33, 4, torch.float32), *layer(8, 33, 2, torch.float32, 4), *layer(8, 33, 4, torch.float32, 8)]
    check_op(partial(each, lora_qkv), partial(each, plain), [random(2, 9, 33, seed=20), *parts])
    small = [*layer(4, 3, 1, torch.float32), *layer(2, 3, 2, torch.float32, 4), *layer(2, 3, 1, torch.float32, 8)]
    check_registration(partial(each, lora_qkv), [random(2, 3, seed=20), *small])

    def one_unused(x: Tensor, *parts: Any) -> Tensor:
        return each(lora_qkv, x, *parts)[1]

    check_op(one_unused, lambda *inputs: each(plain, *inputs)[1], [random(9, 33), *parts])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("act", ["silu", "gelu_tanh"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_mlp_is_its_three_layers(dtype: torch.dtype, act: str, backend: str) -> None:
    def op(x: Tensor, *parts: Any) -> Tensor:
        layers = [Projection(*parts[i : i + 3], SCALING, parts[i + 3]) for i in (0, 4, 8)]
        return lora_mlp(x, *layers, act=act, backend=backend)

    def plain(x: Tensor, *parts: Any) -> Tensor:
        gate, up = formula(x, *parts[:4]), formula(x, *parts[4:8])
        gate = functional.silu(gate) if act == "silu" else functional.gelu(gate, approximate="tanh")
        return formula(gate * up, *parts[8:])

    def parts(k: int, n: int, r: int, of: torch.dtype) -> list[Any]:
        return [part for layers in ((n, k, 1), (n, k, 5), (k, n, 9)) for part in layer(*layers[:2], r, of, layers[2])]

    # sums of sums of 63: twice plain's largest error is a matter of luck
    check_op(op, plain, [random(65, 33, dtype=dtype), *parts(33, 63, 4, dtype)], factor=3.0)
    if dtype == torch.float32:
        check_registration(op, [random(2, 3), *parts(3, 5, 2, dtype)])
        frozen = [random(3, 5), *parts(5, 7, 2, dtype)]
        frozen[10], frozen[12] = frozen[10].detach(), frozen[12].detach()
        check_op(op, plain, frozen)
        check_op(op, plain, [part if i == 10 or part is None else part.detach() for i, part in enumerate(frozen)])


def quantised(kind: str, weight: Tensor) -> tuple[Tensor, Any]:
    if kind == "int8":
        scale = weight.abs().amax(1).clamp(min=1e-6)
        packed = (weight * 127 / scale[:, None]).round().to(torch.int8)
        return packed, QuantState(scale, tuple(weight.shape), torch.float32)
    bitsandbytes = pytest.importorskip("bitsandbytes.functional", reason="quantises with bitsandbytes")
    if kind == "8bit":
        packed, state = bitsandbytes.quantize_blockwise(weight, blocksize=64)
        return packed, QuantState(state.absmax, tuple(weight.shape), weight.dtype, state.code, 64)
    return bitsandbytes.quantize_4bit(weight, quant_type=kind, compress_statistics=True)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["nf4", "fp4", "8bit", "int8"])
def test_quantised_weights_are_those_that_dequantising_gives(kind: str, backend: str) -> None:
    weight, a, b, bias = layer(34, 66, 4, torch.float32)
    packed, state = quantised(kind, weight)
    known = dequantize(packed, state, dtype=torch.float64)

    def op(x: Tensor, a: Tensor, b: Tensor, bias: Tensor) -> Tensor:
        return lora_linear(x, packed, a, b, SCALING, bias, quant_state=state, backend=backend)

    for dtype in (torch.float32, torch.bfloat16):
        inputs = [random(9, 66, dtype=dtype), *[part.detach().to(dtype).requires_grad_() for part in (a, b, bias)]]
        check_op(op, lambda x, a, b, bias: formula(x, known, a, b, bias), inputs)
    if kind == "nf4" and backend == "reference":
        check_registration(op, [random(1, 66), *[part.detach() for part in (a, b)], bias])


def test_an_mlp_takes_quantised_weights() -> None:
    x, grads = random(5, 8), []
    dense = [random(*shape, seed=i, grad=False) for i, shape in enumerate([(12, 8), (12, 8), (8, 12)])]
    packed, states = zip(*[quantised("int8", weight) for weight in dense], strict=True)
    known = [dequantize(part, state) for part, state in zip(packed, states, strict=True)]
    adapters = [(random(2, k, seed=3), random(n, 2, seed=4)) for n, k in (weight.shape for weight in dense)]
    for weights, rest in ((packed, states), ([weight.float() for weight in known], [None] * 3)):
        layers = [
            Projection(weight, *adapter, SCALING, None, state and state._replace(dtype=torch.float32))
            for weight, adapter, state in zip(weights, adapters, rest, strict=True)
        ]
        y = lora_mlp(x, *layers)
        grads.append([y, *torch.autograd.grad(y.square().sum(), [x, *[part for pair in adapters for part in pair]])])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_autocast_casts_as_linear_does_and_gradients_keep_their_dtypes() -> None:
    x, (weight, a, b, bias) = random(9, 33), layer(7, 33, 4, torch.float32)
    low = [part.detach().bfloat16() for part in (x, weight, a, b, bias)]
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        y = fused(x, weight, a, b, bias)
    assert torch.equal(y, fused(*low))
    assert y.dtype == torch.bfloat16
    gradients = torch.autograd.grad(y.float().sum(), [x, a, b, bias])
    assert {gradient.dtype for gradient in gradients} == {torch.float32}


def test_what_does_not_fit_is_refused() -> None:
    x, (weight, a, b, bias) = random(9, 33), layer(7, 33, 4, torch.float32)
    with pytest.raises(ValueError, match="magnitude is given, and DoRA is not fused"):
        fused(x, weight, a, b, bias, magnitude=torch.ones(7))
    with pytest.raises(ValueError, match="weight requires a gradient"):
        fused(x, weight.clone().requires_grad_(), a, b, bias)
    with pytest.raises(ValueError, match=r"weight is torch.bfloat16 and x torch.float32"):
        fused(x, weight.bfloat16(), a, b, bias)
    with pytest.raises(ValueError, match="one of a and b is None"):
        fused(x, weight, a, None, bias)
    with pytest.raises(ValueError, match=r"for weight \[7, 33\]: \[r, K\], \[N, r\]"):
        fused(x, weight, b, a, bias)
    with pytest.raises(ValueError, match=r"they are \[..., K\], \[N, K\]"):
        fused(random(9, 32), weight, a, b, bias)
    with pytest.raises(ValueError, match="act is 'relu'"):
        lora_mlp(x, *[Projection(weight)] * 3, act="relu")
    with pytest.raises(ValueError, match="no layer is given"):
        lora_qkv(x)
