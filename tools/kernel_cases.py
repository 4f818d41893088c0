"""What the ops of sft-kernels are compared on: inputs, the formula in plain PyTorch, and the functions of others.

`compat/liger.py` compares results with these, `bench/kernels.py` times. Functions of ours are looked up by name, and
those of other libraries where they are installed: what is not there is reported, and stops nothing.
"""

import importlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

import sft_kernels

EPS = 1e-6
ALLOWED = 1.5  # times the error of others
Inputs = list[Any]


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


def liger(name: str) -> Any:
    """A public function of Liger-Kernel; ImportError without it."""
    return getattr(importlib.import_module("liger_kernel.transformers.functional"), f"liger_{name}")


def outputs_of(result: Any) -> list[Tensor]:
    """The floating-point results of a function that returns one, or several, some of which may be None."""
    parts = result if isinstance(result, tuple) else (result,)
    return [part for part in parts if isinstance(part, Tensor) and part.is_floating_point()]


def is_worse(row: dict[str, Any]) -> bool:
    """Whether `ours` is further from exact than `ALLOWED` times one of `theirs`, and than a last place (or NaN)."""
    ours = row.get("ours")
    if ours is None:
        return False
    return any(not ours <= max(ALLOWED * theirs, row["last_place"]) for theirs in row["theirs"].values())


class Random:
    """Normal values from a seed, made in float64 (on the CPU if small), so that every dtype sees the same ones."""

    def __init__(self, dtype: torch.dtype, device: str) -> None:
        self.dtype, self.device = dtype, device
        self.generator = torch.Generator(device).manual_seed(0)

    def __call__(self, *shape: int, scale: float = 1.0, grad: bool = True) -> Tensor:
        made_in = torch.float64 if math.prod(shape) < 2**20 else torch.float32
        values = torch.randn(*shape, generator=self.generator, dtype=made_in, device=self.device) * scale
        return values.to(self.dtype).requires_grad_(grad)

    def integers(self, high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=self.generator, device=self.device)


def norm_inputs(parameters: int, shape: tuple[int, ...], new: Random) -> Inputs:
    rows, columns = shape
    return [new(rows, columns), *[new(columns) for _ in range(parameters)]]


def rope_inputs(shape: tuple[int, ...], new: Random) -> Inputs:
    """Queries and keys as Hugging Face's models have them: views of ``[1, T, heads, D]``; cos and sin ``[1, T, D]``."""
    tokens, heads, kv_heads, width = shape
    powers = torch.arange(0, width, 2, dtype=torch.float64, device=new.device) / width
    angles = torch.outer(torch.arange(tokens, dtype=torch.float64, device=new.device), 10000.0**-powers)
    angles = torch.cat((angles, angles), -1)[None]
    q, k = (new(1, tokens, n, width, grad=False).transpose(1, 2).requires_grad_() for n in (heads, kv_heads))
    return [q, k, angles.cos().to(new.dtype), angles.sin().to(new.dtype)]


def rope_plain(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    def turned(x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return x * cos[:, None] + torch.cat((-second, first), -1) * sin[:, None]

    return turned(q), turned(k)


def glu_inputs(shape: tuple[int, ...], new: Random) -> Inputs:
    return [new(*shape), new(*shape)]


def loss_inputs(shape: tuple[int, ...], new: Random) -> Inputs:
    tokens, vocabulary = shape
    return [new(tokens, vocabulary, scale=2.0), some_ignored(new.integers(vocabulary, tokens))]


def head_inputs(shape: tuple[int, ...], new: Random) -> Inputs:
    tokens, hidden, vocabulary = shape
    weight = new(vocabulary, hidden, scale=2 / math.sqrt(hidden))
    return [new(tokens, hidden), weight, some_ignored(new.integers(vocabulary, tokens))]


def some_ignored(target: Tensor) -> Tensor:
    target[::5] = -100
    return target


def head_plain(hidden: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    return mean_loss(hidden @ weight.T, target)


def mean_loss(logits: Tensor, target: Tensor) -> Tensor:
    return functional.cross_entropy(logits if logits.dtype == torch.float64 else logits.float(), target)


def attention_inputs(shape: tuple[int, ...], new: Random) -> Inputs:
    """``heads, kv_heads, D``, then the lengths of documents."""
    heads, kv_heads, width, *lengths = shape
    boundaries = sft_kernels.cu_seqlens_from_lengths(lengths, device=new.device)
    q, k, v = (new(sum(lengths), n, width) for n in (heads, kv_heads, kv_heads))
    return [q, k, v, boundaries, max(lengths), list(lengths)]


def attention_plain(q: Tensor, k: Tensor, v: Tensor, _: Tensor, longest: int, lengths: list[int]) -> Tensor:
    parts = [part.split(lengths) for part in (q, k, v)]
    found = [
        functional.scaled_dot_product_attention(
            *[tensor.transpose(0, 1)[None] for tensor in document], is_causal=True, enable_gqa=True
        )[0].transpose(0, 1)
        for document in zip(*parts, strict=True)
    ]
    return torch.cat(found)


def attention_flash(module: str, q: Tensor, k: Tensor, v: Tensor, cu: Tensor, longest: int, _: Any) -> Any:
    function = importlib.import_module(module).flash_attn_varlen_func
    named = {"cu_seqlens_q": cu, "cu_seqlens_k": cu, "max_seqlen_q": longest, "max_seqlen_k": longest}
    return outputs_of(function(q, k, v, causal=True, **named))[0]


def attention_torch(q: Tensor, k: Tensor, v: Tensor, cu: Tensor, longest: int, _: Any) -> Any:
    function = importlib.import_module("torch.nn.attention.varlen").varlen_attn
    grouped = {"enable_gqa": True} if q.shape[1] != k.shape[1] else {}
    return function(q, k, v, cu, cu, longest, longest, window_size=(-1, 0), **grouped)


def attention_work(shape: tuple[int, ...]) -> tuple[float, float]:
    """Causal: two products of half a square in the forward pass, five more in the backward pass."""
    forward = 2.0 * shape[0] * shape[2] * sum(length * length for length in shape[3:])
    return forward, 3.5 * forward


def adapter_inputs(shape: tuple[int, ...], new: Random) -> Inputs:
    tokens, out, inner, rank = shape
    weight = new(out, inner, scale=1 / math.sqrt(inner), grad=False)
    return [new(tokens, inner), weight, new(rank, inner, scale=1 / math.sqrt(inner)), new(out, rank, scale=0.1)]


def adapter_plain(x: Tensor, weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return x @ weight.T + 2.0 * ((x @ a.T) @ b.T)


def nf4_inputs(shape: tuple[int, ...], new: Random) -> Inputs:
    """Bytes, scales and the scales of scales, as double quantisation makes them."""
    rows, columns = shape
    blocks = rows * columns // 64
    packed = new.integers(256, rows * columns // 2).to(torch.uint8)
    code = torch.linspace(-1, 1, 256, device=new.device)
    nested = torch.rand(-(-blocks // 256), generator=new.generator, device=new.device)
    return [packed, new.integers(256, blocks).to(torch.uint8), code, nested, torch.ones(1, device=new.device), shape]


def nf4_call(function: Any, packed: Tensor, absmax: Tensor, *nested: Any) -> Any:
    code, scales, offset, shape = nested
    extra = {"nested_absmax": scales, "nested_code": code, "offset": offset}
    return function(packed, absmax, None, shape, torch.bfloat16, **extra)


def nf4_plain(packed: Tensor, absmax: Tensor, code: Tensor, nested: Tensor, offset: Any, shape: Any) -> Tensor:
    values = torch.tensor(sft_kernels.NF4_CODE, device=packed.device)
    indices = torch.stack((packed >> 4, packed & 15), -1).flatten().int()
    scales = code[absmax.int()] * nested.repeat_interleave(256)[: absmax.numel()] + offset
    return (values[indices].view(-1, 64) * scales[:, None]).view(shape).bfloat16()


def expert_inputs(shape: tuple[int, ...], new: Random) -> Inputs:
    """Experts with uneven numbers of tokens, the last one with none."""
    tokens, out, inner, experts = shape
    share = [tokens * (i + 1) * 2 // (experts * (experts - 1)) for i in range(experts - 2)]
    ends = [sum(share[:i]) for i in range(experts - 1)] + [tokens, tokens]
    offsets = torch.tensor(ends, dtype=torch.int32, device=new.device)
    return [new(tokens, inner), new(experts, out, inner, scale=1 / math.sqrt(inner)), offsets]


def expert_plain(x: Tensor, weight: Tensor, offsets: Tensor) -> Tensor:
    ends = offsets.tolist()
    return torch.cat([x[start:end] @ weight[e].T for e, (start, end) in enumerate(pairwise(ends))])


def traffic(forward: int, both: int, shape: tuple[int, ...]) -> tuple[float, float]:
    """Bytes of reading or writing that many tensors of a shape in bfloat16."""
    return 2.0 * forward * math.prod(shape), 2.0 * both * math.prod(shape)


def product_work(both: int, shape: tuple[int, ...]) -> tuple[float, float]:
    return 2.0 * math.prod(shape[:3]), 2.0 * both * math.prod(shape[:3])


def rms_plain(x: Tensor, weight: Tensor) -> Tensor:
    wide = x if x.dtype == torch.float64 else x.float()
    return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPS)).to(x.dtype)


def plainly(function: Any, *inputs: Any) -> Any:
    """Our function on the inputs as they are."""
    return function(*inputs)


def add_norm_plain(x: Tensor, weight: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
    return rms_plain(x + residual, weight), x + residual


def add_norm_inputs(shape: tuple[int, ...], new: Random) -> Inputs:
    return [*norm_inputs(1, shape, new), new(*shape)]


def layer_plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], weight, bias, EPS)


def attention_call(function: Any, q: Tensor, k: Tensor, v: Tensor, cu: Tensor, longest: int, _: Any) -> Any:
    return function(q, k, v, cu, cu, longest, longest, causal=True)


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
        "dequantize_nf4", "dequantize_nf4", nf4_inputs, nf4_plain, nf4_call, {},
        (8, 64), ((14336, 4096),), lambda shape: (math.prod(shape) * 2.5156, 0.0),
    ),
    Case(
        "grouped_linear", "grouped_linear", expert_inputs, expert_plain, plainly, {},
        (20, 16, 24, 4), ((16384, 2048, 2048, 8), (32768, 1536, 2048, 64)), partial(product_work, 3), "TFLOP/s",
    ),
)  # fmt: skip
