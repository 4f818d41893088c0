"""What the ops of sft-kernels are compared on: inputs, the formula in plain PyTorch, and the functions of others.

`compat/liger.py` compares results with these, `bench/kernels.py` times. Functions of ours are looked up by name, and
those of other libraries where they are installed: what is not there is reported, and stops nothing.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from kernel_inputs import (
    EPS,
    Inputs,
    adapter_inputs,
    adapter_plain,
    add_norm_inputs,
    add_norm_plain,
    attention_call,
    attention_flash,
    attention_inputs,
    attention_plain,
    attention_torch,
    cached_inputs,
    cached_plain,
    expert_adapter_inputs,
    expert_adapter_plain,
    expert_inputs,
    expert_plain,
    frozen_head_inputs,
    gemma_plain,
    glu_inputs,
    head_inputs,
    head_plain,
    int8_inputs,
    int8_plain,
    layer_plain,
    layers_inputs,
    liger,
    loss_inputs,
    mean_loss,
    mlp_plain,
    nf4_call,
    nf4_inputs,
    nf4_plain,
    norm_inputs,
    padded_call,
    padded_inputs,
    padded_plain,
    plainly,
    projections,
    qk_inputs,
    qk_plain,
    qkv_plain,
    rms_plain,
    rope_inputs,
    rope_plain,
    supervised_head_inputs,
)
from torch.nn import functional

import sft_kernels

ALLOWED = 1.5  # times the error of others


class Case(NamedTuple):
    """An op on one kind of inputs; a shape is a tuple whose meaning `make` knows."""

    name: str
    ours: str
    make: Callable[..., Inputs]
    plain: Callable[..., Any]
    call: Callable[..., Any]
    """Takes our function, then the inputs."""
    others: dict[str, Callable[..., Any]]
    """By library: takes the inputs, raises ImportError where the library is missing."""
    tiny: tuple[int, ...]
    full: tuple[tuple[int, ...], ...]
    work: Callable[..., tuple[float, float]]
    """Takes the shape; bytes of the forward pass in bfloat16, or floating-point operations, and those of both."""
    unit: str = "TB/s"


class MissingError(Exception):
    """A function is not there; the message says which."""


def ours_of(case: Case) -> Callable[..., Any]:
    """Our implementation of a case as a function of its inputs.

    Raises:
        MissingError: sft_kernels has no such function.
    """
    function = getattr(sft_kernels, case.ours, None)
    if function is None:
        raise MissingError(f"sft_kernels has no {case.ours}")
    return partial(case.call, function)


def is_worse(row: dict[str, Any]) -> bool:
    """Whether `ours` is further from exact than `ALLOWED` times one of `theirs`, and than a last place (or NaN)."""
    ours = row.get("ours")
    if ours is None:
        return False
    return any(not ours <= max(ALLOWED * theirs, row["last_place"]) for theirs in row["theirs"].values())


def attention_work(shape: tuple[int, ...]) -> tuple[float, float]:
    """Causal: two products of half a square in the forward pass, five more in the backward pass."""
    forward = 2.0 * shape[0] * shape[2] * sum(length * length for length in shape[3:])
    return forward, 3.5 * forward


def traffic(forward: int, both: int, shape: tuple[int, ...]) -> tuple[float, float]:
    """Bytes of reading or writing that many tensors of a shape in bfloat16."""
    return 2.0 * forward * math.prod(shape), 2.0 * both * math.prod(shape)


def product_work(both: int, shape: tuple[int, ...]) -> tuple[float, float]:
    return 2.0 * math.prod(shape[:3]), 2.0 * both * math.prod(shape[:3])


DOCUMENTS = ((32768,), (4096,) * 8, (1024,) * 32, (512,) * 64, (128,) * 256)
MIXED = (16384, 8192, 4096, 2048, 1024, 512, 256, 128, 128)

CASES: Sequence[Case] = (
    Case(
        "rms_norm", "rms_norm", partial(norm_inputs, 1), rms_plain,
        lambda f, x, w: f(x, w, EPS), {"liger": lambda x, w: liger("rms_norm")(x, w, EPS, 0.0, "llama", False)},
        (9, 96), ((16384, 4096),), partial(traffic, 2, 5),
    ),
    Case(
        "add_rms_norm", "add_rms_norm", add_norm_inputs, add_norm_plain, lambda f, x, w, r: f(x, r, w, EPS), {},
        (9, 96), ((16384, 4096),), partial(traffic, 4, 8),
    ),
    Case(
        "rms_norm_gemma", "rms_norm", partial(norm_inputs, 1), gemma_plain,
        lambda f, x, w: f(x, w, EPS, offset=1.0, casting="gemma"),
        {"liger": lambda x, w: liger("rms_norm")(x, w, EPS, 1.0, "gemma", False)},
        (9, 96), ((16384, 4096),), partial(traffic, 2, 5),
    ),
    Case(
        "layer_norm", "layer_norm", partial(norm_inputs, 2), layer_plain,
        lambda f, x, w, b: f(x, w, b, EPS), {"liger": lambda x, w, b: liger("layer_norm")(x, w, b, EPS)},
        (9, 96), ((16384, 4096),), partial(traffic, 2, 5),
    ),
    Case(
        "rope", "apply_rotary_pos_emb", rope_inputs, rope_plain, plainly,
        {"liger": lambda q, k, cos, sin: liger("rope")(q.clone(), k.clone(), cos, sin)},
        (5, 4, 2, 16), ((16384, 32, 8, 128), (32768, 32, 8, 128)),
        lambda shape: traffic(2, 4, (shape[0], shape[1] + shape[2], shape[3])),
    ),
    Case(
        "rope_cached", "rope_cached", cached_inputs, cached_plain, plainly, {},
        (6, 4, 2, 16), ((16384, 32, 8, 128), (32768, 32, 8, 128)),
        lambda shape: traffic(2, 4, (shape[0], shape[1] + shape[2], shape[3])),
    ),
    Case(
        "qk_norm_rope", "qk_norm_rope", qk_inputs, qk_plain, plainly, {},
        (5, 4, 2, 16), ((16384, 32, 8, 128),),
        lambda shape: traffic(2, 5, (shape[0], shape[1] + shape[2], shape[3])),
    ),
    Case(
        "swiglu", "swiglu", glu_inputs, lambda gate, up: functional.silu(gate) * up, plainly,
        {"liger": lambda gate, up: liger("swiglu")(gate, up)}, (9, 96), ((16384, 14336),), partial(traffic, 3, 8),
    ),
    Case(
        "geglu", "geglu", glu_inputs, lambda gate, up: functional.gelu(gate, approximate="tanh") * up, plainly,
        {"liger": lambda gate, up: liger("geglu")(gate, up)}, (9, 96), ((16384, 14336),), partial(traffic, 3, 8),
    ),
    Case(
        "cross_entropy", "cross_entropy", loss_inputs, mean_loss, plainly,
        {"liger": lambda logits, target: liger("cross_entropy")(logits.clone(), target)},
        (10, 130), ((8192, 128256),), partial(traffic, 1, 3),
    ),
    Case(
        "linear_cross_entropy", "linear_cross_entropy", head_inputs, head_plain, plainly,
        {"liger": lambda hidden, weight, target: liger("fused_linear_cross_entropy")(hidden, weight, target)},
        (10, 24, 130), ((16384, 4096, 128256),), partial(product_work, 3), "TFLOP/s",
    ),
    Case(
        "linear_cross_entropy_frozen_head", "linear_cross_entropy", frozen_head_inputs, head_plain, plainly,
        {"liger": lambda hidden, weight, target: liger("fused_linear_cross_entropy")(hidden, weight, target)},
        (10, 24, 130), ((16384, 4096, 128256),), partial(product_work, 2), "TFLOP/s",
    ),
    Case(
        "linear_cross_entropy_recompute", "linear_cross_entropy", head_inputs, head_plain,
        lambda f, *inputs: f(*inputs, recompute=True), {},
        (10, 24, 130), ((16384, 4096, 128256),), partial(product_work, 4), "TFLOP/s",
    ),
    Case(
        "linear_cross_entropy_two_fifths", "linear_cross_entropy", supervised_head_inputs, head_plain, plainly,
        {"liger": lambda hidden, weight, target: liger("fused_linear_cross_entropy")(hidden, weight, target)},
        (10, 24, 130), ((16384, 4096, 128256),),
        lambda shape: (0.4 * product_work(3, shape)[0], 0.4 * product_work(3, shape)[1]), "TFLOP/s",
    ),
    Case(
        "varlen_attention", "flash_attn_varlen_func", attention_inputs, attention_plain, attention_call,
        {"flash-attn": partial(attention_flash, "flash_attn"),
         "flash-attn 3": partial(attention_flash, "flash_attn_interface"),
         "flash-attn 4": partial(attention_flash, "flash_attn.cute"),
         "torch varlen": attention_torch},
        (4, 2, 16, 5, 17, 1), tuple((32, 8, 128, *lengths) for lengths in (*DOCUMENTS, MIXED)),
        attention_work, "TFLOP/s",
    ),
    Case(
        "lora_linear", "lora_linear", adapter_inputs, adapter_plain, lambda f, *inputs: f(*inputs, 2.0), {},
        (9, 32, 48, 4), ((16384, 4096, 4096, 16), (16384, 14336, 4096, 16)), partial(product_work, 2), "TFLOP/s",
    ),
    Case(
        "lora_qkv", "lora_qkv", partial(layers_inputs, mlp=False), qkv_plain,
        lambda f, x, *parts: f(x, *projections(parts)), {},
        (9, 32, 48, 4), ((16384, 4096, 4096, 16),), lambda shape: (3 * math.prod(shape[:3]), 6 * math.prod(shape[:3])),
        "TFLOP/s",
    ),
    Case(
        "lora_mlp", "lora_mlp", partial(layers_inputs, mlp=True), mlp_plain,
        lambda f, x, *parts: f(x, *projections(parts)), {},
        (9, 32, 48, 4), ((16384, 14336, 4096, 16),),
        lambda shape: (6 * math.prod(shape[:3]), 12 * math.prod(shape[:3])), "TFLOP/s",
    ),
    Case(
        "dequantize_int8", "dequantize_int8", int8_inputs, int8_plain,
        lambda f, quantised, scale: f(quantised, scale.float(), torch.bfloat16), {},
        (8, 64), ((14336, 4096),), lambda shape: (math.prod(shape) * 3.0, 0.0),
    ),
    Case(
        "dequantize_nf4", "dequantize_nf4", nf4_inputs, nf4_plain, nf4_call, {},
        (8, 64), ((14336, 4096),), lambda shape: (math.prod(shape) * 2.5156, 0.0),
    ),
    Case(
        "grouped_linear", "grouped_linear", expert_inputs, expert_plain, plainly, {},
        (20, 16, 24, 4), ((16384, 2048, 2048, 8), (32768, 1536, 2048, 64)), partial(product_work, 3), "TFLOP/s",
    ),
    Case(
        "grouped_linear_adapters", "grouped_linear", expert_adapter_inputs, expert_adapter_plain,
        lambda f, x, weight, offsets, a, b: f(x, weight, offsets, a=a, b=b, scaling=2.0), {},
        (20, 16, 24, 4, 4), ((16384, 2048, 2048, 8, 16),), partial(product_work, 2), "TFLOP/s",
    ),
    Case(
        "unpad", "unpad", padded_inputs, padded_plain, padded_call, {},
        (4, 6, 16), ((16, 2048, 4096),), partial(traffic, 3, 6),
    ),
)  # fmt: skip
