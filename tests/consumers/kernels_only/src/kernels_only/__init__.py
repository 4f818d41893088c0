"""Trains a small language model on packed documents, with sft-kernels and no transformers.

Each document counts on by one, two or three, modulo the vocabulary. A model that sees a token alone has a loss of
log 3 at best; to do better it has to see what came before in the same document.
"""

from itertools import chain

import torch
from torch import Tensor, nn

import sft_kernels

VOCABULARY, WIDTH, HEADS, KV_HEADS, HEAD = 17, 32, 4, 2, 8
LENGTHS = [5, 9, 3, 12, 7, 1, 11]


class Block(nn.Module):
    """Attention over packed documents, then a two-layer MLP, each after an RMS norm and with a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ParameterList([nn.Parameter(torch.ones(WIDTH)) for _ in range(2)])
        self.qkv = nn.Linear(WIDTH, (HEADS + 2 * KV_HEADS) * HEAD, bias=False)
        self.out = nn.Linear(HEADS * HEAD, WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 2 * WIDTH)
        self.down = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor, cu_seqlens: Tensor, longest: int) -> Tensor:
        """``[T, WIDTH]`` to the same."""
        heads = self.qkv(sft_kernels.rms_norm(x, self.norms[0])).view(len(x), -1, HEAD)
        q, k, v = heads.split([HEADS, KV_HEADS, KV_HEADS], dim=1)
        mixed = sft_kernels.flash_attn_varlen_func(
            q, k, v, cu_seqlens, cu_seqlens, longest, longest, causal=True, window_size=(8, 0)
        )
        normed, x = sft_kernels.add_rms_norm(self.out(mixed.flatten(1)), x, self.norms[1])
        return x + self.down(nn.functional.silu(self.up(normed)))


class Model(nn.Module):
    """Embedding, two blocks, a norm and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Embedding(max(LENGTHS), WIDTH)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.norm = nn.Parameter(torch.ones(WIDTH))
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor, labels: Tensor, cu_seqlens: Tensor) -> Tensor:
        """The mean loss over labels that are not -100."""
        x = self.tokens(tokens) + self.places(sft_kernels.position_ids_from_cu_seqlens(cu_seqlens))
        for block in self.blocks:
            x = block(x, cu_seqlens, max(LENGTHS))
        return loss_of(sft_kernels.rms_norm(x, self.norm), self.head.weight, labels)


def loss_of(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """The fused loss where this version of sft-kernels has it; else the same on logits."""
    fused = getattr(sft_kernels, "linear_cross_entropy", None)
    return nn.functional.cross_entropy(hidden @ weight.T, labels) if fused is None else fused(hidden, weight, labels)


def batch(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens and labels, ``[T]``, and the boundaries; the last token of a document has no label."""
    documents = []
    for length in LENGTHS:
        start = int(torch.randint(VOCABULARY, (1,), generator=generator))
        step = int(torch.randint(1, 4, (1,), generator=generator))
        documents.append([(start + step * i) % VOCABULARY for i in range(length)])
    labels = [[*document[1:], -100] for document in documents]
    flat = [torch.tensor(list(chain.from_iterable(lists))) for lists in (documents, labels)]
    return flat[0], flat[1], sft_kernels.cu_seqlens_from_lengths(LENGTHS)


def train(steps: int = 120) -> list[float]:
    """The losses of all steps."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = model(*batch(generator))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses
