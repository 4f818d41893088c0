"""From data, model and hardware to settings, by the tables of `sft_schema.advice` and those below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import PurePath
from typing import Any

from sft_cli.starter.data import DataLook
from sft_cli.starter.hardware import Hardware
from sft_cli.starter.model import ModelLook
from sft_schema.advice import USUAL_OPTIMIZERS, USUAL_RANGES, Method, size_class

INF = float("inf")

WEIGHT_BYTES: dict[Method, float] = {"lora": 2.0, "qlora": 0.6, "full": 16.0}
"""Bytes that a weight of the model takes here: frozen in bfloat16; in 4-bit NF4 with its scales and a share for layers
that stay whole (arXiv 2305.14314); in float32 with its gradient and AdamW's two moments."""

LEARNING_RATES: dict[Method, tuple[tuple[float, float], ...]] = {
    "lora": ((8, 2e-4), (INF, 1e-4)),
    "qlora": ((8, 2e-4), (INF, 1e-4)),
    "full": ((3, 2e-5), (INF, 1e-5)),
}
"""By method: up to so many billions of weights, this rate of the usual range. Larger models take lower ones."""

EPOCHS: tuple[tuple[float, int], ...] = ((2_000, 3), (20_000, 2), (INF, 1))
"""Up to so many rows, so many epochs of the usual range."""

HELD_OUT: tuple[tuple[float, float], ...] = ((20, 0), (400, 0.1), (20_000, 0.05), (INF, 1000))
"""Up to so many rows, this `val_set_size`: a fraction, or a number of rows."""

ROWS_A_STEP, STEPS_WANTED = 16, 100
"""Packed rows of a step on all devices, and steps of a run below which fewer rows are taken."""

LENGTHS = (512, 1024, 2048, 4096, 8192)
_ROOM = 1.25


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the config, and why it is what it is."""

    key: str
    value: Any
    why: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of a config in sections, and what the user should know of it.

    Attributes:
        method: what is trained.
        sections: title and settings, in the order of the file.
        notes: what may stand in the way of a run.
    """

    method: Method
    sections: tuple[tuple[str, tuple[Setting, ...]], ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All of them."""
        return tuple(each for _, settings in self.sections for each in settings)


def plan(
    data: DataLook, test: DataLook | None, model: ModelLook, hardware: Hardware, method: Method | None = None
) -> Plan:
    """Every setting of a first config.

    Args:
        data: the rows to train on.
        test: rows to evaluate on; None holds some of the others out.
        model: the base model.
        hardware: what the run is meant for.
        method: what the user wants; None chooses.
    """
    chosen, why = (method, "as asked for") if method else choose_method(model, hardware)
    length = _up_to(tuple((each, each) for each in (*LENGTHS[:-1], INF)), data.longest * _ROOM)
    length = LENGTHS[-1] if length == INF else int(length)
    sections = (
        ("The model", _model(model)),
        ("The data", _data(data, test, model)),
        ("Rows", _rows(data, model, length)),
        (f"Method: {why}", _method(chosen)),
        ("Steps", _steps(data, model, hardware, chosen, length)),
        ("Number format and memory", _memory(hardware)),
        ("Output", _output(data, test, model, chosen)),
    )
    return Plan(chosen, sections, tuple(_notes(data, model, hardware, chosen)))


def choose_method(model: ModelLook, hardware: Hardware) -> tuple[Method, str]:
    """LoRA where the model fits with it, else QLoRA; and why."""
    if model.billions is None:
        return "lora", "LoRA, the usual choice; the size of the model is not known"
    row, size = size_class(model.billions), f"a model of {_size(model.billions)}"
    if not hardware.gpus:
        return "lora", f"LoRA, the usual choice for {size}"
    needed = max(row.gigabytes[0] if row.measured_with == "lora" else 0, model.billions * WEIGHT_BYTES["lora"])
    if hardware.gigabytes >= needed or model.billions * WEIGHT_BYTES["lora"] < hardware.gigabytes / 2:
        return "lora", f"LoRA, the usual choice for {size} on {hardware}"
    return "qlora", f"QLoRA: LoRA on {size} takes about {needed:.0f} GB, and there are {hardware.gigabytes:.0f}"


def _size(billions: float) -> str:
    return f"{billions:.2g}B" if billions >= 0.1 else f"{billions * 1000:.2g}M"


def _up_to(rows: Sequence[tuple[float, float]], value: float) -> float:
    return next(found for end, found in rows if value <= end)


def _model(model: ModelLook) -> tuple[Setting, ...]:
    return (Setting("base_model", model.name),)


def _data(data: DataLook, test: DataLook | None, model: ModelLook) -> tuple[Setting, ...]:
    check = "; look at it with `sft inspect`" if data.guessed else ""
    found = [Setting("datasets", [{"path": data.path, **data.entry}], data.why + check)]
    if test is not None:
        found.append(Setting("test_datasets", [{"path": test.path, **test.entry}], test.why))
    else:
        size = _up_to(HELD_OUT, data.count if data.count is not None else INF)
        found.append(Setting("val_set_size", int(size) if size >= 1 else size, "held out to measure the loss on"))
    if data.chat and model.template:
        found.append(Setting("chat_template", "tokenizer_default", "the model comes with one"))
    elif data.chat:
        found.append(Setting("chat_template", "tokenizer_default_fallback_chatml", "the model's own if it has one"))
    return (*found, Setting("train_on_inputs", False, "prompts are masked"))


def _rows(data: DataLook, model: ModelLook, length: int) -> tuple[Setting, ...]:
    why = f"the longest of the rows looked at has about {data.longest:,} tokens"
    packed = Setting("sample_packing", model.leak is None, model.leak or "several samples share a row")
    flash = find_spec("flash_attn") is not None
    backend = "flash_attention_2" if flash else "sdpa"
    seen = "flash-attn is installed" if flash else "`sft doctor` shows which others work here"
    return (
        Setting("sequence_len", length, why),
        packed,
        Setting("attn_implementation", backend, seen),
    )


def _method(method: Method) -> tuple[Setting, ...]:
    if method == "full":
        return ()
    rank = int(next(row for row in USUAL_RANGES if row.key == "lora_r").ranges[method][0])
    found = [
        Setting("adapter", method),
        Setting("lora_r", rank, _usual("lora_r", method)),
        Setting("lora_alpha", 2 * rank, "usually 1 to 2 times lora_r"),
        Setting("lora_target_linear", True, "every linear layer but the head"),
    ]
    if method == "qlora":
        found.insert(1, Setting("load_in_4bit", True, "needs `sft-train[bitsandbytes]`"))
    return tuple(found)


def _usual(key: str, method: Method) -> str:
    low, high = next(row for row in USUAL_RANGES if row.key == key).ranges[method]
    return f"usually {_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if value < 0.01 else f"{value:g}"


def _steps(data: DataLook, model: ModelLook, hardware: Hardware, method: Method, length: int) -> tuple[Setting, ...]:
    ranges = {row.key: row.ranges[method] for row in USUAL_RANGES if method in row.ranges}
    epochs = int(_up_to(EPOCHS, data.count if data.count is not None else INF))
    micro = 1 if model.leak is not None else int(ranges["micro_batch_size"][0])
    low, high = (int(each) for each in ranges["gradient_accumulation_steps"])
    accumulated = min(high, max(low, ROWS_A_STEP // (micro * max(1, hardware.gpus))))
    rows = None if data.count is None else max(1, data.count * data.mean // length)
    while rows is not None and accumulated > low and rows * epochs / (micro * accumulated) < STEPS_WANTED:
        accumulated = max(low, accumulated // 2)
    rate = _up_to(LEARNING_RATES[method], model.billions or 1)
    per_step = micro * accumulated * max(1, hardware.gpus)
    return (
        Setting("micro_batch_size", micro, _usual("micro_batch_size", method)),
        Setting("gradient_accumulation_steps", accumulated, f"{per_step} rows a step on {hardware}"),
        Setting("num_epochs", epochs, f"{_count(data)}; {_usual('num_epochs', method)}"),
        Setting("learning_rate", rate, f"{_usual('learning_rate', method)}; lower for larger models"),
        Setting("lr_scheduler", "cosine"),
        Setting("warmup_ratio", 0.03),
        Setting("optimizer", *_optimizer(method, hardware)),
    )


def _count(data: DataLook) -> str:
    return "the number of rows is not known" if data.count is None else f"about {data.count:,} rows"


def _optimizer(method: Method, hardware: Hardware) -> tuple[str, str]:
    usual = USUAL_OPTIMIZERS[method][0]
    if usual == "adamw_torch_fused":
        return usual, ""
    if not hardware.gpus:
        return "adamw_torch_fused", f"{usual} is usual on a GPU"
    if find_spec("bitsandbytes") is None:
        return "adamw_torch_fused", f"{usual} takes less memory, and needs `sft-train[bitsandbytes]`"
    return usual, "its states take a quarter of the memory"


def _memory(hardware: Hardware) -> tuple[Setting, ...]:
    recompute = Setting("gradient_checkpointing", True, "less memory for a fifth more time; false if it fits without")
    return (Setting("bf16", "auto", "bfloat16 where the device has it"), *((recompute,) if hardware.gpus else ()))


def _output(data: DataLook, test: DataLook | None, model: ModelLook, method: Method) -> tuple[Setting, ...]:
    name = PurePath(model.name).name.lower() or "model"
    held_out = test is not None or _up_to(HELD_OUT, data.count if data.count is not None else INF) > 0
    return (
        Setting("output_dir", f"outputs/{name}-{method}"),
        Setting("save_strategy", "epoch"),
        *((Setting("eval_strategy", "epoch"),) if held_out else ()),
        Setting("logging_steps", 1),
    )


def _notes(data: DataLook, model: ModelLook, hardware: Hardware, method: Method) -> list[str]:
    notes: list[str] = []
    needed = (model.billions or 0) * WEIGHT_BYTES[method]
    if hardware.gpus and needed > hardware.gigabytes:
        notes.append(
            f"the weights alone take about {needed:.0f} GB, and a GPU has {hardware.gigabytes:.0f}: "
            "take a smaller model, `--method qlora`, or a larger GPU"
        )
    if method == "qlora" and find_spec("bitsandbytes") is None:
        notes.append("QLoRA needs bitsandbytes, which is not installed: install `sft-train[bitsandbytes]`")
    if method == "full" and model.billions and (full := size_class(model.billions).full):
        notes.append(f"training all weights of a model of {_size(model.billions)} usually takes {full}")
    if data.guessed:
        notes.append("the names of keys or roles were guessed from the data: look at the rows with `sft inspect`")
    return notes
