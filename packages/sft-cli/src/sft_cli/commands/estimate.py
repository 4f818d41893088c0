"""`sft estimate`: memory, messages and time of a run on machines that one need not have."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from sft_cli.options import config_options, example, json_option

if TYPE_CHECKING:
    from sft_schema import SftConfig
    from sft_train.estimate import Device, Layout, Memory, ModelShape, Step

DEVICES = ("A100-40GB", "A100-80GB", "H100", "H200", "B200", "RTX-4090", "cpu")
SHARDINGS = ("none", "optimizer", "gradients", "weights")


@click.command(
    "estimate",
    epilog=example(
        "sft estimate config.yaml --device H100",
        "sft estimate config.yaml --gpus 8 --nodes 4 --sharding weights --json",
        "sft estimate config.yaml --set sequence_len=32768 --set gradient_checkpointing=true",
    ),
)
@config_options
@click.option("--device", type=click.Choice(DEVICES), default="H100", show_default=True, help="What it runs on.")
@click.option("--gpus", type=click.IntRange(1), default=1, show_default=True, help="GPUs of a machine.")
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, help="Machines.")
@click.option(
    "--sharding",
    type=click.Choice(SHARDINGS),
    default="none",
    show_default=True,
    help="What is cut over the GPUs: ZeRO 1, 2 and 3; `weights` is FSDP too.",
)
@click.option("--tensor", type=click.IntRange(1), default=1, help="GPUs that share each matrix.")
@click.option("--context", type=click.IntRange(1), default=1, help="GPUs that share each row.")
@click.option("--sample-len", type=click.IntRange(1), help="Tokens of a sample on average; absent means whole rows.")
@json_option
def command(config: str, overrides: tuple[str, ...], device: str, as_json: bool, **machines: Any) -> None:
    """Estimate memory, messages and time of a step of CONFIG. No weight is loaded and no GPU is needed.

    The base model's config.json is read, from its folder or the hub. Memory is that of one process at the fullest
    moment of a step, part by part.
    """
    from sft_cli.config_file import read_config
    from sft_train.estimate import Layout, estimate_memory, estimate_step, plan_of
    from sft_train.estimate.layout import DEVICES as KNOWN

    cfg = read_config(config, overrides)
    shape = _shape(cfg)
    on_gpu = device != "cpu"
    plan = plan_of(cfg, shape, gpu=on_gpu)
    sample_len: int | None = machines.pop("sample_len")
    layout = Layout(**machines)
    if layout.processes % (layout.tensor * layout.context):
        message = f"{layout.processes} GPUs cannot be shared out by {layout.tensor} x {layout.context}"
        raise click.UsageError(message)
    memory = estimate_memory(shape, plan, layout, gpu=on_gpu)
    step = estimate_step(shape, plan, layout, KNOWN[device], sample_len=sample_len) if on_gpu else None
    if as_json:
        found = {
            "model": asdict(shape) | {"weights": shape.weights, "trained": plan.trained(shape)},
            "memory": asdict(memory) | {"total": memory.total},
            "device": asdict(KNOWN[device]) if on_gpu else None,
            "layout": asdict(layout),
            "step": None if step is None else asdict(step) | {"seconds": step.seconds},
        }
        click.echo(json.dumps(found, indent=2))
        return
    for name, text in _lines(plan.trained(shape), shape.weights, memory, step, layout, KNOWN.get(device)):
        click.echo(f"{name:<14}{text}")


def _shape(cfg: SftConfig) -> ModelShape:
    from transformers import AutoConfig

    from sft_schema import ConfigError, Issue
    from sft_train.estimate import read_shape

    known: Any = AutoConfig
    try:
        config = known.from_pretrained(
            cfg.base_model, revision=cfg.revision_of_model, trust_remote_code=cfg.trust_remote_code
        )
    except (OSError, ValueError) as error:
        message = f"the config.json of {cfg.base_model!r} cannot be read: {error}"
        issue = Issue("model_not_read", ("base_model",), message, "give a hub id, or a folder with config.json")
        raise ConfigError([issue]) from error
    return read_shape(config.get_text_config().to_dict())


def _lines(
    trained: int, weights: int, memory: Memory, step: Step | None, layout: Layout, device: Device | None
) -> list[tuple[str, str]]:
    parts = ("weights", "gradients", "states", "activations", "logits", "passing", "other")
    found = [("model", f"{weights / 1e9:.2f}B weights, {trained / 1e6:,.1f}M of them or beside them trained")]
    for part in parts:
        size = getattr(memory, part)
        if size:
            found.append((part, _gib(size)))
    fits = "" if device is None else f" of {device.memory:g} GiB: {_fits(memory.total, device.memory)}"
    found.append(("memory", f"{_gib(memory.total)}{fits}; fullest: {memory.moment}"))
    if step is not None:
        rate = step.tokens / step.seconds
        found += [
            ("step", f"{step.seconds:.3g} s, {step.waiting:.3g} of them waiting for messages"),
            ("messages", f"{_gib(step.data_bytes + step.tensor_bytes)} a step from each process"),
            ("speed", f"{rate:,.0f} tokens a second in all, {rate / layout.processes:,.0f} a GPU"),
            ("mfu", f"{100 * step.mfu:.0f}%"),
        ]
    return found


def _fits(total: float, gib: float) -> str:
    return "fits" if total <= gib * 2**30 else "does not fit"


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"
