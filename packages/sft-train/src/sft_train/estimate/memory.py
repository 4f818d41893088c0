"""Memory of one process, part by part, at the moment of a step when it is fullest."""

from __future__ import annotations

from dataclasses import dataclass

from sft_train.estimate.activations import (
    casts,
    computed_bytes,
    layer_bytes,
    mask_bytes,
    residual_bytes,
    weight_copies,
)
from sft_train.estimate.layout import Layout
from sft_train.estimate.plan import Plan
from sft_train.estimate.shape import ModelShape

GIB = 2**30
_LOGITS = {True: 2**30, False: 2**27}
_FEWEST = {True: 1024, False: 128}
"""Bytes of the logits of a chunk and its fewest tokens, on a GPU and on a CPU: those of `linear_cross_entropy`."""
_CONTEXT = 0.7 * GIB
"""What CUDA, its libraries and their workspaces take of a GPU."""
_FRAGMENTS = 0.04
"""Part of what comes and goes that torch's allocator cannot use."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one process at the peak.

    Attributes:
        weights: as they are held, the adapter's too.
        gradients: of the weights that are trained.
        states: the optimizer's.
        activations: kept for the backward pass, with masks and casts of weights.
        logits: of the chunk of tokens that is in the head, and the gradients that wait for the backward pass.
        passing: what one layer needs while it computes, gathered weights too, and buckets for messages.
        other: the device's own, and what is lost between blocks of memory.
        moment: when all this is needed: `forward`, `backward` or `update`.
    """

    weights: float
    gradients: float
    states: float
    activations: float
    logits: float
    passing: float
    other: float
    moment: str

    @property
    def total(self) -> float:
        """The sum of all parts."""
        return self.weights + self.gradients + self.states + self.activations + self.logits + self.passing + self.other


def estimate_memory(shape: ModelShape, plan: Plan, layout: Layout, *, gpu: bool) -> Memory:
    """The fullest moment of a step.

    Args:
        shape: of the base model.
        plan: see `plan_of`.
        layout: of the machines; rows are cut by `context`, matrices by `tensor`.
        gpu: on a GPU, with what that takes itself; on a CPU nothing is added.
    """
    moments = [_moment(shape, plan, layout, gpu, moment) for moment in ("forward", "backward", "update")]
    return max(moments, key=lambda each: each.total)


def held(shape: ModelShape, plan: Plan, layout: Layout) -> tuple[float, float, float]:
    """Bytes of weights, gradients and states of one process."""
    matrices = shape.layers * shape.layer_matrices
    base = matrices * plan.base_bytes + (shape.weights - matrices) * plan.weight_bytes
    trained = plan.trained(shape)
    adapter = trained * plan.trained_bytes if plan.lora_r else 0.0
    cut = {"none": 0, "optimizer": 1, "gradients": 2, "weights": 3}[layout.sharding]
    shards = layout.shards * layout.tensor
    return (
        (base + adapter) / (shards if cut >= 3 else layout.tensor),
        trained * plan.trained_bytes / (shards if cut >= 2 else layout.tensor),
        trained * plan.state_bytes / (shards if cut >= 1 else layout.tensor),
    )


def _moment(shape: ModelShape, plan: Plan, layout: Layout, gpu: bool, moment: str) -> Memory:
    weights, gradients, states = held(shape, plan, layout)
    tokens = plan.tokens / layout.context
    # Weights that are gathered come as they are multiplied; others are cast.
    copies = 0.0 if layout.sharding == "weights" else weight_copies(shape, plan) / layout.tensor
    layer = layer_bytes(shape, plan) * tokens / layout.tensor + copies
    checkpoint = residual_bytes(plan) * shape.hidden_size * tokens
    every = shape.layers * (checkpoint if plan.recomputed else layer)
    cached = shape.layers * copies if plan.recomputed else 0.0  # to the end of the forward pass, and not after it
    ends = (4 + residual_bytes(plan) + computed_bytes(plan)) * shape.hidden_size * tokens + mask_bytes(plan)
    chunk, waiting = _head(shape, plan, tokens, gpu)
    accumulated = gradients if plan.accumulation > 1 else 0.0
    passing = _passing(shape, plan, tokens) / layout.tensor + _gathered(shape, plan, layout)
    buckets = gradients if layout.sharding == "none" and layout.data > 1 else 0.0
    parts: dict[str, tuple[float, float, float, float]] = {
        "forward": (accumulated, every + ends + cached, chunk + waiting, 0.0),
        "backward": (accumulated, every + ends + (layer if plan.recomputed else 0.0), waiting, passing),
        "update": (gradients, 0.0, 0.0, 0.0),
    }
    now, activations, logits, passes = parts[moment]
    lost = _FRAGMENTS * (activations + logits + passes) + _CONTEXT if gpu else 0.0
    return Memory(weights, now, states, activations, logits, passes + buckets, lost, moment)


def _head(shape: ModelShape, plan: Plan, tokens: float, gpu: bool) -> tuple[float, float]:
    """Bytes of a chunk of logits with what is computed from it, and of gradients that wait for the backward pass."""
    number = computed_bytes(plan)
    most = max(_FEWEST[gpu], _LOGITS[gpu] // (shape.vocab_size * (2 if gpu and plan.half else 4)))
    chunk = min(tokens, most) * shape.vocab_size * (number + 4 if plan.half and not gpu else number)
    weight = (0.0 if plan.lora_r else 4.0 * shape.embedding) + (2.0 * shape.embedding if casts(plan) else 0.0)
    return chunk, weight + number * shape.hidden_size * tokens


def _passing(shape: ModelShape, plan: Plan, tokens: float) -> float:
    """Gradients of the widest part of a layer, its MLP: of gate, up and what they are multiplied to."""
    return 3 * computed_bytes(plan) * shape.intermediate_size * shape.experts_per_token * tokens


def _gathered(shape: ModelShape, plan: Plan, layout: Layout) -> float:
    """Whole weights of the layer that computes and of the next one, where each process holds a part."""
    if layout.sharding != "weights":
        return 0.0
    return 2 * shape.layer_matrices * min(plan.base_bytes, computed_bytes(plan)) / layout.tensor
