"""Advice: settings outside the ranges that fine-tuning usually works in. Never an error.

The tables hold the ranges of axolotl's SFT reference (docs/agents/sft.md, Apache-2.0, as of 2026-05-05), by the way
of training: LoRA, QLoRA or all weights. They are where to look first when a run learns nothing or runs out of
memory, not limits: a config outside of them is as valid as any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from sft_schema.config import SftConfig, accumulation_steps
from sft_schema.errors import Path
from sft_schema.optim import OPTIMIZERS

Method = Literal["lora", "qlora", "full"]

_METHOD_NAMES: dict[Method, str] = {"lora": "LoRA", "qlora": "QLoRA", "full": "training all weights"}
_BILLIONS = re.compile(r"(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Advice:
    """One setting worth a second look.

    Attributes:
        code: stable short name.
        path: the setting.
        value: what the config says, as text.
        range: what is usual, as text.
        message: one sentence.
    """

    code: str
    path: Path
    value: str
    range: str
    message: str


@dataclass(frozen=True, slots=True)
class UsualRange:
    """Lowest and highest usual value of a number, by method; a method that is not named has none."""

    key: str
    ranges: dict[Method, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class ModelSize:
    """What a model of up to `billions` of weights is usually trained with.

    Attributes:
        billions: upper end of the class.
        name: the class as people say it.
        adapter: what is usually chosen.
        gigabytes: GPU memory that it takes, roughly, from and to.
        full: what training all weights takes; None when one GPU is enough.
        measured_with: the method whose memory `gigabytes` is.
    """

    billions: float
    name: str
    adapter: str
    gigabytes: tuple[int, int]
    full: str | None
    measured_with: Method = "lora"

    @property
    def memory(self) -> str:
        """`gigabytes` as people write it."""
        return f"{self.gigabytes[0]}-{self.gigabytes[1]} GB"


USUAL_RANGES: tuple[UsualRange, ...] = (
    UsualRange("learning_rate", {"lora": (1e-4, 3e-4), "qlora": (1e-4, 3e-4), "full": (1e-5, 5e-5)}),
    UsualRange("lora_r", {"lora": (16, 64), "qlora": (16, 64)}),
    UsualRange("micro_batch_size", {"lora": (2, 8), "qlora": (2, 4), "full": (1, 2)}),
    UsualRange("gradient_accumulation_steps", {"lora": (2, 8), "qlora": (4, 16), "full": (4, 16)}),
    UsualRange("num_epochs", {"lora": (1, 3), "qlora": (1, 3), "full": (1, 3)}),
)

USUAL_OPTIMIZERS: dict[Method, tuple[str, ...]] = {
    "lora": ("adamw_8bit", "adamw_torch_fused"),
    "qlora": ("adamw_bnb_8bit", "adamw_torch_fused"),
    "full": ("adamw_torch_fused",),
}
"""By method, the usual one first; another name for the same algorithm and size of states is as usual."""

MODEL_SIZES: tuple[ModelSize, ...] = (
    ModelSize(3, "1-3B", "LoRA", (8, 16), None),
    ModelSize(8, "7-8B", "LoRA", (16, 24), "several GPUs"),
    ModelSize(14, "13-14B", "LoRA", (24, 40), "several GPUs"),
    ModelSize(float("inf"), "30-70B", "LoRA or QLoRA", (40, 80), "several machines", "qlora"),
)


def advice(cfg: SftConfig) -> tuple[Advice, ...]:
    """What is unusual about a valid config, in the order of the tables."""
    return tuple(found for check in _CHECKS for found in check(cfg))


def method_of(cfg: SftConfig) -> Method:
    """How the config trains: the adapter's kind, or all weights."""
    if cfg.adapter is None:
        return "full"
    return "qlora" if cfg.load_in_4bit else "lora"


def model_billions(base_model: str) -> float | None:
    """Weights in billions, read off a name such as `Qwen3-0.6B` or `Mixtral-8x7B`; None when it does not say."""
    name = base_model.rstrip("/").rpartition("/")[2]
    sizes = [float(size) * int(experts or 1) for experts, size in _BILLIONS.findall(name)]
    return max(sizes, default=None)


def size_class(billions: float) -> ModelSize:
    """The row of `MODEL_SIZES` for a model of so many billions of weights."""
    return next(row for row in MODEL_SIZES if billions <= row.billions)


def _ranges(cfg: SftConfig) -> Iterator[Advice]:
    method = method_of(cfg)
    for row in USUAL_RANGES:
        usual = row.ranges.get(method)
        accumulated = row.key == "gradient_accumulation_steps"  # which `batch_size` may say
        value: float = accumulation_steps(cfg) if accumulated else getattr(cfg, row.key)
        ends = cfg.max_steps is not None and row.key == "num_epochs"  # then the epochs do not decide
        if usual is not None and not usual[0] <= value <= usual[1] and not ends:
            yield _outside("unusual_value", row.key, value, usual, _METHOD_NAMES[method])


def _lora_alpha(cfg: SftConfig) -> Iterator[Advice]:
    usual = (cfg.lora_r, 2 * cfg.lora_r)
    if cfg.adapter is not None and not usual[0] <= cfg.lora_alpha <= usual[1]:
        yield _outside("unusual_value", "lora_alpha", cfg.lora_alpha, usual, "1 to 2 times lora_r")


def _outside(code: str, key: str, value: float, usual: tuple[float, float], why: str) -> Advice:
    span = f"{usual[0]:g} to {usual[1]:g}"
    side = "below" if value < usual[0] else "above"
    return Advice(code, (key,), f"{value:g}", span, f"{key} {value:g} is {side} the usual {span} ({why})")


def _optimizer(cfg: SftConfig) -> Iterator[Advice]:
    method = method_of(cfg)
    usual = [name for name in USUAL_OPTIMIZERS[method] if name in OPTIMIZERS]
    alike = {(OPTIMIZERS[name].algorithm, OPTIMIZERS[name].state_dtype) for name in usual}
    row = OPTIMIZERS[cfg.optimizer]
    if usual and (row.algorithm, row.state_dtype) not in alike:
        message = f"{usual[0]} is usual for {_METHOD_NAMES[method]}, not {cfg.optimizer}"
        yield Advice("unusual_optimizer", ("optimizer",), cfg.optimizer, " or ".join(usual), message)


def _model_size(cfg: SftConfig) -> Iterator[Advice]:
    billions = model_billions(cfg.base_model)
    if billions is None or cfg.adapter is not None:
        return
    row = size_class(billions)
    if row.full is not None:
        usual = f"{row.adapter} ({row.memory})"
        message = f"training all weights of a {billions:g}B model takes {row.full}; {usual} is usual at this size"
        yield Advice("adapter_for_size", ("adapter",), "none", usual, message)


def _small_updates(cfg: SftConfig) -> Iterator[Advice]:
    if cfg.dtype == "bfloat16" and cfg.adapter is None:
        message = "all weights are trained in bfloat16: updates below 1/256 of a weight are lost to rounding"
        yield Advice("trained_in_bfloat16", ("dtype",), "bfloat16", "auto", message)


def _warmup(cfg: SftConfig) -> Iterator[Advice]:
    if cfg.max_steps is not None and cfg.warmup_steps >= cfg.max_steps:
        message = f"the run ends at step {cfg.max_steps}, before the learning rate has reached its peak"
        yield Advice("warmup_outlasts_run", ("warmup_steps",), f"{cfg.warmup_steps}", f"below {cfg.max_steps}", message)


def _evaluations(cfg: SftConfig) -> Iterator[Advice]:
    if cfg.evals_per_epoch and not (cfg.val_set_size or cfg.test_datasets):
        message = "evals_per_epoch asks for nothing: there are no held-out rows (`val_set_size`, `test_datasets`)"
        yield Advice("evaluations_of_nothing", ("evals_per_epoch",), f"{cfg.evals_per_epoch}", "0", message)


_CHECKS: tuple[Callable[[SftConfig], Iterator[Advice]], ...] = (
    _ranges,
    _lora_alpha,
    _optimizer,
    _model_size,
    _small_updates,
    _warmup,
    _evaluations,
)
