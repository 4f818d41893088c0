"""Inputs of the ops of sft-kernels, their formulas in plain PyTorch, and how others are called; see `kernel_cases`."""

import importlib
import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import sft_kernels

EPS = 1e-6
Inputs = list[Any]


def liger(name: str) -> Any:
    """A public function of Liger-Kernel; ImportError without it."""
    return getattr(importlib.import_module("liger_kernel.transformers.functional"), f"liger_{name}")


def outputs_of(result: Any) -> list[Tensor]:
    """The floating-point results of a function that returns one, or several, some of which may be None."""
    parts = result if isinstance(result, tuple) else (result,)
    return [part for part in parts if isinstance(part, Tensor) and part.is_floating_point()]


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


def qk_inputs(shape: tuple[int, ...], new: Random) -> Inputs:
    """As `rope_inputs`, with the weights of the two norms."""
    q, k, cos, sin = rope_inputs(shape, new)
    return [q, k, new(shape[3]), new(shape[3]), cos, sin]


def qk_plain(q: Tensor, k: Tensor, q_weight: Tensor, k_weight: Tensor, cos: Tensor, sin: Tensor) -> Any:
    return rope_plain(rms_plain(q, q_weight), rms_plain(k, k_weight), cos, sin)


def cached_inputs(shape: tuple[int, ...], new: Random) -> Inputs:
    """Packed queries and keys, and positions that begin again within the row."""
    tokens, heads, kv_heads, width = shape
    _, _, cos, sin = rope_inputs((tokens, 1, 1, width), new)
    positions = torch.arange(tokens, device=new.device) % max(1, tokens // 3)
    return [new(tokens, heads, width), new(tokens, kv_heads, width), *(t[0, :, ::2] for t in (cos, sin)), positions]


def cached_plain(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, positions: Tensor) -> Any:
    angles = [torch.cat((each, each), -1)[positions][None] for each in (cos, sin)]
    found = rope_plain(*(x.transpose(0, 1)[None] for x in (q, k)), *angles)
    return tuple(x[0].transpose(0, 1) for x in found)


def gemma_plain(x: Tensor, weight: Tensor) -> Tensor:
    wide, factor = (x, weight) if x.dtype == torch.float64 else (x.float(), weight.float())
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + EPS) * (1 + factor)).to(x.dtype)


def frozen_head_inputs(shape: tuple[int, ...], new: Random) -> Inputs:
    hidden, weight, target = head_inputs(shape, new)
    return [hidden, weight.detach(), target]


def supervised_head_inputs(shape: tuple[int, ...], new: Random) -> Inputs:
    """Two tokens of five have a target."""
    hidden, weight, target = head_inputs(shape, new)
    target[torch.arange(len(target), device=target.device) % 5 > 1] = -100
    return [hidden, weight, target]


def layers_inputs(shape: tuple[int, ...], new: Random, mlp: bool) -> Inputs:
    """Queries, keys and values of a quarter of the width; or gate, up and down of an MLP."""
    tokens, out, inner, rank = shape
    sizes = [(out, inner), (out, inner), (inner, out)] if mlp else [(out, inner), (out // 4, inner), (out // 4, inner)]
    parts = [part for n, k in sizes for part in adapter_inputs((1, n, k, rank), new)[1:]]
    return [new(tokens, inner), *parts]


def projections(parts: tuple[Tensor, ...]) -> list[Any]:
    return [sft_kernels.Projection(*parts[i : i + 3], scaling=2.0) for i in (0, 3, 6)]


def qkv_plain(x: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
    return tuple(adapter_plain(x, *parts[i : i + 3]) for i in (0, 3, 6))


def mlp_plain(x: Tensor, *parts: Tensor) -> Tensor:
    gate, up = (adapter_plain(x, *parts[i : i + 3]) for i in (0, 3))
    return adapter_plain(functional.silu(gate) * up, *parts[6:])


def int8_inputs(shape: tuple[int, ...], new: Random) -> Inputs:
    rows, columns = shape
    quantised = new.integers(255, rows, columns).sub(127).to(torch.int8)
    return [quantised, torch.rand(rows, generator=new.generator, device=new.device)]


def int8_plain(quantised: Tensor, scale: Tensor) -> Tensor:
    return (quantised.float() * scale.float()[:, None] / 127).bfloat16()


def expert_adapter_inputs(shape: tuple[int, ...], new: Random) -> Inputs:
    x, weight, offsets = expert_inputs(shape[:4], new)
    _, out, inner, experts, rank = shape
    a, b = new(experts, rank, inner, scale=1 / math.sqrt(inner)), new(experts, out, rank, scale=0.1)
    return [x, weight.detach(), offsets, a, b]


def expert_adapter_plain(x: Tensor, weight: Tensor, offsets: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return expert_plain(x, weight, offsets) + 2.0 * expert_plain(expert_plain(x, a, offsets), b, offsets)


def padded_inputs(shape: tuple[int, ...], new: Random) -> Inputs:
    """Rows of which every second is half padding."""
    rows, length, _ = shape
    mask = torch.ones(rows, length, dtype=torch.bool, device=new.device)
    mask[::2, length // 2 :] = False
    return [new(*shape), mask]


def padded_plain(x: Tensor, mask: Tensor) -> Tensor:
    return torch.zeros_like(x).masked_scatter(mask[..., None], x[mask])


def padded_call(function: Any, x: Tensor, mask: Tensor) -> Tensor:
    indices, _ = sft_kernels.cu_seqlens_from_attention_mask(mask)
    return sft_kernels.repad(function(x, indices), indices, *mask.shape)
