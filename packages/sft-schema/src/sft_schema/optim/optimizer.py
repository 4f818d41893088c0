"""The table of optimizers: one row each, with what it reads and needs.

`state_dtype` is how the running averages of a large layer are kept: 8 bits are blockwise codes with a float32 scale
for every 256 of them (Dettmers et al. 2021, arXiv 2110.02861); embeddings and layers under 4,096 weights keep float32.
A paged optimizer lets its states move to the host's memory when the GPU's is full; on a CPU it is its plain twin.

Sources: torch 2.15 (`torch.optim`), bitsandbytes 0.50 (`bitsandbytes.optim`), schedulefree 1.4, transformers 5.23.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sft_schema.optim.argument import Argument

OptimizerName = Literal[
    "adamw_torch_fused",
    "adamw_torch",
    "adamw_bnb_8bit",
    "adamw_8bit",
    "paged_adamw_8bit",
    "paged_adamw_32bit",
    "adafactor",
    "ademamix",
    "ademamix_8bit",
    "paged_ademamix_8bit",
    "paged_ademamix_32bit",
    "lion_8bit",
    "lion_32bit",
    "paged_lion_8bit",
    "paged_lion_32bit",
    "muon",
    "schedule_free_adamw",
    "schedule_free_radam",
    "schedule_free_sgd",
    "sgd",
    "adagrad",
    "rmsprop",
    "rmsprop_bnb",
    "rmsprop_bnb_8bit",
    "rmsprop_bnb_32bit",
]
Decay = Literal["decoupled", "in the gradient"]


@dataclass(frozen=True, slots=True)
class Optimizer:
    """What one value of `optimizer` is.

    Attributes:
        name: the value.
        algorithm: what builds it in sft-train.
        extra: extra of sft-train that it needs; None when torch has it.
        reads: the settings besides learning rate and weight decay that it has a use for.
        args: what `optim_args` may hold.
        state_dtype: number format of its running averages.
        decay: `weight_decay` shrinks the weights themselves, or is added to their gradients.
        paged: its states may move to the host's memory.
        schedule_free: it averages the weights in place of lowering the rate.
        shards: it updates each weight from that weight's own gradient and states, with code that takes the shards
            of FSDP2 and of DeepSpeed for whole tensors.
    """

    name: OptimizerName
    algorithm: str
    extra: str | None = None
    reads: tuple[str, ...] = ()
    args: tuple[Argument, ...] = ()
    state_dtype: Literal["float32", "uint8"] = "float32"
    decay: Decay = "decoupled"
    paged: bool = False
    schedule_free: bool = False
    shards: bool = False


_BETAS = ("adam_beta1", "adam_beta2")
_ADAM = (*_BETAS, "adam_epsilon")
_BNB = "bitsandbytes"
_SMALL = (Argument("min_8bit_size", int, low=0),)
_MIX = (
    Argument("beta3", float, low=0, high=1),
    Argument("alpha", float, low=0),
    Argument("t_alpha", int, low=1),
    Argument("t_beta3", int, low=1),
)
_FREE = (Argument("r", float, low=0), Argument("weight_lr_power", float, low=0))
_MOMENTUM = Argument("momentum", float, low=0, high=1)
_EPS = Argument("eps", float, low=0)
_RMS = (Argument("alpha", float, low=0, high=1), _EPS, _MOMENTUM)

_ROWS = (
    Optimizer("adamw_torch_fused", "adamw", reads=_ADAM, args=(Argument("amsgrad", bool),), shards=True),
    Optimizer("adamw_torch", "adamw", reads=_ADAM, args=(Argument("amsgrad", bool),), shards=True),
    Optimizer("adamw_bnb_8bit", "bnb_adamw", _BNB, _ADAM, _SMALL, "uint8"),
    Optimizer("adamw_8bit", "bnb_adamw", _BNB, _ADAM, _SMALL, "uint8"),
    Optimizer("paged_adamw_8bit", "bnb_adamw", _BNB, _ADAM, _SMALL, "uint8", paged=True),
    Optimizer("paged_adamw_32bit", "bnb_adamw", _BNB, _ADAM, paged=True),
    Optimizer(
        "adafactor", "adafactor",
        args=(Argument("clip_threshold", float, low=0), Argument("decay_rate", float, high=0),
              Argument("beta1", float, low=0, high=1)),
    ),
    Optimizer("ademamix", "bnb_ademamix", _BNB, _ADAM, _MIX),
    Optimizer("ademamix_8bit", "bnb_ademamix", _BNB, _ADAM, (*_MIX, *_SMALL), "uint8"),
    Optimizer("paged_ademamix_8bit", "bnb_ademamix", _BNB, _ADAM, (*_MIX, *_SMALL), "uint8", paged=True),
    Optimizer("paged_ademamix_32bit", "bnb_ademamix", _BNB, _ADAM, _MIX, paged=True),
    Optimizer("lion_8bit", "bnb_lion", _BNB, _BETAS, _SMALL, "uint8"),
    Optimizer("lion_32bit", "bnb_lion", _BNB, _BETAS),
    Optimizer("paged_lion_8bit", "bnb_lion", _BNB, _BETAS, _SMALL, "uint8", paged=True),
    Optimizer("paged_lion_32bit", "bnb_lion", _BNB, _BETAS, paged=True),
    Optimizer(
        "muon", "muon", reads=_ADAM,
        args=(_MOMENTUM, Argument("nesterov", bool), Argument("ns_steps", int, low=1, high=99),
              Argument("adjust_lr_fn", str, choices=("original", "match_rms_adamw"))),
    ),
    Optimizer("schedule_free_adamw", "free_adamw", "schedulefree", _ADAM, _FREE, schedule_free=True),
    Optimizer("schedule_free_radam", "free_radam", "schedulefree", _ADAM, _FREE, schedule_free=True),
    Optimizer("schedule_free_sgd", "free_sgd", "schedulefree", (), (_MOMENTUM, *_FREE), schedule_free=True),
    Optimizer(
        "sgd", "sgd", decay="in the gradient",
        args=(_MOMENTUM, Argument("dampening", float, low=0, high=1), Argument("nesterov", bool)), shards=True,
    ),
    Optimizer(
        "adagrad", "adagrad", decay="in the gradient",
        args=(Argument("lr_decay", float, low=0), Argument("initial_accumulator_value", float, low=0), _EPS),
    ),
    Optimizer("rmsprop", "rmsprop", decay="in the gradient", args=(*_RMS, Argument("centered", bool)), shards=True),
    Optimizer("rmsprop_bnb", "bnb_rmsprop", _BNB, (), _RMS, decay="in the gradient"),
    Optimizer("rmsprop_bnb_8bit", "bnb_rmsprop", _BNB, (), (*_RMS, *_SMALL), "uint8", decay="in the gradient"),
    Optimizer("rmsprop_bnb_32bit", "bnb_rmsprop", _BNB, (), _RMS, decay="in the gradient"),
)  # fmt: skip

OPTIMIZERS: dict[str, Optimizer] = {row.name: row for row in _ROWS}
"""Every row by name, the usual ones first."""
