"""What the forward pass keeps for the backward pass, layer by layer, as autograd keeps it.

For each token, with residual stream x of width h, and numbers of c bytes where products are computed:

    norm          x in float32, and x / rms where the norm's weights are trained
    q, k, v       their input, once, or once a layer where it had to be cast for each of them
    attention     q, k, v, the output and a logarithm a head; eager: the probabilities of all pairs
    o             its input
    gate, up      their input; gate, silu(gate) and up (gate and up alone where they are fused)
    down          its input

The input of a linear layer is kept for the gradient of its weights: where they are frozen and have no adapter, it is
not. Found by counting tensors (tests/estimate), not from a paper; Korthikanti et al. 2022 (arXiv 2205.05198) count
alike for another layer.
"""

from __future__ import annotations

from sft_train.estimate.plan import Plan
from sft_train.estimate.shape import ModelShape

_GROUPS = (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",))
"""Linear layers that have the same input."""


def layer_bytes(shape: ModelShape, plan: Plan) -> float:
    """Bytes that one layer keeps for each token of a micro batch."""
    return _norms(shape, plan) + _linear_inputs(shape, plan) + _attention(shape, plan) + _gates(shape, plan)


def residual_bytes(plan: Plan) -> int:
    """Of a number of the residual stream: it has the format of the embedding."""
    return 2 if plan.half and plan.weight_bytes == 2 else 4


def computed_bytes(plan: Plan) -> int:
    """Of a number that goes into a product or comes out of it."""
    return 2 if plan.half else 4


def mask_bytes(plan: Plan) -> float:
    """Of the mask of all pairs in a micro batch, which backends without boundaries build where samples share it."""
    return float(plan.tokens) ** 2 if plan.packed and plan.attention != "varlen" else 0.0


def casts(plan: Plan) -> bool:
    """Whether weights are held in more bytes than they are multiplied in."""
    return plan.half and plan.weight_bytes == 4


def weight_copies(shape: ModelShape, plan: Plan) -> float:
    """Of float32 weights cast for their products: kept from the forward to the backward pass, a layer's worth."""
    return 2.0 * shape.layer_matrices if casts(plan) and plan.base_bytes == 4 else 0.0


def _norms(shape: ModelShape, plan: Plan) -> float:
    kept = residual_bytes(plan) if plan.fused else 4
    scaled = 0 if plan.lora_r or plan.fused else residual_bytes(plan)
    heads = (kept + scaled) * (shape.query_width + shape.key_width) if shape.head_norms else 0
    return shape.norms * (kept + scaled) * shape.hidden_size + heads + 4 * shape.norms


def _linear_inputs(shape: ModelShape, plan: Plan) -> float:
    widths = (shape.hidden_size, shape.query_width, shape.hidden_size, shape.intermediate_size)
    runs = (1, 1, shape.experts_per_token, shape.experts_per_token)
    kept = 0.0
    for names, width, times in zip(_GROUPS, widths, runs, strict=True):
        if plan.lora_r:
            adapted = len([name for name in names if name in plan.lora_linears])
            copies = adapted if plan.half else min(adapted, 1)
            kept += adapted * plan.lora_r * computed_bytes(plan)
        else:
            copies = len(names) if plan.half and plan.weight_bytes == 4 and len(names) > 1 else 1
        kept += copies * width * computed_bytes(plan) * times
    return kept


def _attention(shape: ModelShape, plan: Plan) -> float:
    number, query, key = computed_bytes(plan), shape.query_width, shape.key_width
    repeated = plan.attention == "eager" or (plan.attention == "sdpa" and plan.packed and shape.kv_heads < shape.heads)
    pairs = 2 * number * (query if repeated else key)
    if plan.attention == "eager":
        return number * query + pairs + shape.heads * plan.tokens * (4 + (number if plan.half else 0))
    # Packed heads come back in another order than they are kept in, where no kernel of a GPU has put them right.
    outputs = 2 if plan.attention == "varlen" and not plan.half else 1
    return number * query * (1 + outputs) + pairs + 4 * shape.heads


def _gates(shape: ModelShape, plan: Plan) -> float:
    tensors = 2 if plan.fused else 3
    return tensors * computed_bytes(plan) * shape.intermediate_size * shape.experts_per_token
