"""Operations, messages and time of an optimizer step.

Operations are counted as usual (Kaplan et al. 2020, arXiv 2001.08361): 2 for a weight that multiplies a token, twice
that again backward where all weights are trained, once where they are frozen under an adapter, and once more where the
forward pass is repeated. Causal attention over a sample of s tokens takes 2 * width * s for a token and layer.
"""

from __future__ import annotations

from dataclasses import dataclass

from sft_train.estimate.activations import computed_bytes
from sft_train.estimate.layout import Device, Layout
from sft_train.estimate.plan import Plan
from sft_train.estimate.shape import ModelShape

_OVERLAP = 0.8
"""Part of the computing time behind which messages about weights and gradients are hidden: all but the first layers."""


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step, of each process.

    Attributes:
        tokens: of all processes together.
        operations: that a step needs, recomputing left out.
        computing: seconds in which they are done.
        data_bytes: of messages about weights and gradients.
        tensor_bytes: of messages within matrices and rows that are cut.
        waiting: seconds for messages that no computing hides.
        mfu: operations over what the device could do in the whole time (model FLOPs utilisation), 0 to 1.
    """

    tokens: float
    operations: float
    computing: float
    data_bytes: float
    tensor_bytes: float
    waiting: float
    mfu: float

    @property
    def seconds(self) -> float:
        """From one step's beginning to the next one's."""
        return self.computing + self.waiting


def estimate_step(
    shape: ModelShape, plan: Plan, layout: Layout, device: Device, *, sample_len: float | None = None
) -> Step:
    """How long a step takes, and why.

    Args:
        shape: of the base model.
        plan: see `plan_of`.
        layout: of the machines.
        device: each of them.
        sample_len: tokens of a sample, for the cost of attention; None takes samples as long as rows.
    """
    length = min(sample_len or plan.sequence_len, plan.sequence_len)
    tokens = plan.tokens * plan.accumulation / (layout.context * layout.tensor)
    forward = tokens * (2 * shape.multiplied + 2 * shape.layers * shape.query_width * length)
    needed = forward * (2 if plan.lora_r else 3)
    done = needed + (forward if plan.recomputed else 0.0)
    computing = done / (device.flops * device.reached)
    data = _data_bytes(shape, plan, layout)
    within = _tensor_bytes(shape, plan, layout)
    spread = layout.nodes > 1 and layout.data > 1
    exposed = data / (device.network if spread else device.link) - _OVERLAP * computing
    waiting = max(exposed, 0.0) + within / (device.link if layout.tensor <= layout.gpus else device.network)
    mfu = needed / ((computing + waiting) * device.flops)
    return Step(plan.tokens * plan.accumulation * layout.data, needed, computing, data, within, waiting, mfu)


def _data_bytes(shape: ModelShape, plan: Plan, layout: Layout) -> float:
    """Sent by each process in a step, in rings: (n - 1) / n of what is gathered or scattered."""
    shards = layout.shards
    ring = (shards - 1) / shards / layout.tensor
    gradients = plan.trained(shape) * plan.trained_bytes
    if layout.sharding == "weights":
        frozen = shape.weights * min(plan.base_bytes, computed_bytes(plan))
        return plan.accumulation * ring * (2 * frozen + gradients)
    return ring * 2 * gradients


def _tensor_bytes(shape: ModelShape, plan: Plan, layout: Layout) -> float:
    """Sums over matrices that are cut (4 a layer, 6 with the forward pass repeated), and keys and values of rings."""
    tokens = plan.tokens * plan.accumulation / layout.context
    hidden = tokens * shape.hidden_size * computed_bytes(plan)
    sums = (6 if plan.recomputed else 4) * 2 * (layout.tensor - 1) / layout.tensor * hidden
    pairs = 2 * shape.key_width * computed_bytes(plan) * tokens
    rings = (3 + plan.recomputed) * (layout.context - 1) * pairs / layout.tensor
    return shape.layers * (sums + rings)
