"""What a config says about memory and work, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sft_schema import SftConfig
from sft_schema.config import accumulation_steps
from sft_schema.optim import OPTIMIZERS
from sft_train.estimate.shape import ModelShape

STATES = {"adafactor": 0, "lion": 1, "sgd": 1, "muon": 1, "adagrad": 1, "rmsprop": 1, "ademamix": 3}
"""Numbers that an optimizer keeps for a weight; those that are not named keep 2. Adafactor keeps rows and columns."""

Attention = Literal["eager", "sdpa", "varlen"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained, and how.

    Attributes:
        tokens: of a micro batch, at most.
        accumulation: micro batches of a step.
        packed: samples share rows.
        sequence_len: longest row, in tokens.
        attention: which kind of backend; `varlen` takes the samples' boundaries and builds no mask.
        recomputed: activations within a layer are computed again (`gradient_checkpointing`).
        fused: this project's kernels are in the model's layers.
        half: bfloat16 or float16 is computed in.
        weight_bytes: of a weight as the base model is held.
        base_bytes: of a weight of a quantised linear layer; `weight_bytes` where nothing is.
        trained_bytes: of a weight that is trained, and of its gradient.
        state_bytes: of an optimizer for each trained weight.
        lora_r: rank of the adapter; 0 trains all weights.
        lora_linears: linear layers of a layer that have one.
    """

    tokens: int
    accumulation: int
    packed: bool
    sequence_len: int
    attention: Attention
    recomputed: bool
    fused: bool
    half: bool
    weight_bytes: float
    base_bytes: float
    trained_bytes: float
    state_bytes: float
    lora_r: int = 0
    lora_linears: tuple[str, ...] = ()

    def trained(self, shape: ModelShape) -> int:
        """Weights that are trained."""
        if not self.lora_r:
            return shape.weights
        return shape.layers * sum(self.lora_r * sum(sizes(shape)[name]) for name in self.lora_linears)


def sizes(shape: ModelShape) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of the linear layers of a layer; those of a single expert are told for a plain MLP alone."""
    h, q, k, f = shape.hidden_size, shape.query_width, shape.key_width, shape.intermediate_size
    attention = {"q_proj": (h, q), "k_proj": (h, k), "v_proj": (h, k), "o_proj": (q, h)}
    mlp = {} if shape.experts > 1 else {"gate_proj": (h, f), "up_proj": (h, f), "down_proj": (f, h)}
    return attention | mlp


def plan_of(cfg: SftConfig, shape: ModelShape, *, gpu: bool) -> Plan:
    """The plan of a config.

    Args:
        cfg: the whole config.
        shape: of its base model.
        gpu: it runs on GPUs that compute in bfloat16; otherwise on a CPU.
    """
    half = cfg.fp16 or (gpu if cfg.bf16 == "auto" else cfg.bf16)
    lora = cfg.adapter is not None
    held = half and not cfg.fp16 and (cfg.dtype == "bfloat16" or (cfg.dtype == "auto" and lora))
    weight_bytes = 2.0 if held else 4.0
    trained_bytes = weight_bytes if cfg.dtype == "bfloat16" and not lora else 4.0
    row = OPTIMIZERS[cfg.optimizer]
    states = STATES.get(row.algorithm, STATES.get(row.algorithm.partition("_")[0], 2))
    fused = cfg.fused_kernels if isinstance(cfg.fused_kernels, bool) else gpu
    return Plan(
        tokens=cfg.micro_batch_size * cfg.sequence_len,
        accumulation=accumulation_steps(cfg),
        packed=cfg.sample_packing or cfg.micro_batch_size > 1,
        sequence_len=cfg.sequence_len,
        attention=_attention(cfg),
        recomputed=cfg.gradient_checkpointing,
        fused=fused,
        half=half,
        weight_bytes=weight_bytes,
        base_bytes=_base_bytes(cfg, weight_bytes),
        trained_bytes=trained_bytes,
        state_bytes=states * (1 + 4 / 256 if row.state_dtype == "uint8" else trained_bytes),
        lora_r=cfg.lora_r if lora else 0,
        lora_linears=_adapted(cfg, shape) if lora else (),
    )


def _attention(cfg: SftConfig) -> Attention:
    name = cfg.attn_implementation
    return name if name in ("eager", "sdpa") else "varlen"  # pyright: ignore[reportReturnType]


def _base_bytes(cfg: SftConfig, otherwise: float) -> float:
    """4 bits with a scale for every 64 of them, itself in 8 bits or float32; 8 bits with a scale a row."""
    if cfg.load_in_4bit:
        return 0.5 + (1 / 64 if cfg.bnb_config_kwargs.bnb_4bit_use_double_quant else 4 / 64)
    return 1.0 if cfg.load_in_8bit else otherwise


def _adapted(cfg: SftConfig, shape: ModelShape) -> tuple[str, ...]:
    known = tuple(sizes(shape))
    if cfg.lora_target_linear or not isinstance(cfg.lora_target_modules, tuple):
        return known
    return tuple(name for name in known if name in cfg.lora_target_modules)
