"""`sft doctor`: what this machine can do, what stands in the way, and what to do next."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sft_cli.invocation import Invocation
from sft_cli.options import example, json_option

if TYPE_CHECKING:
    from sft_cli.installed import Installed

_LOW_DISK, _LOW_MEMORY = 20, 8
_PLAIN = ("sdpa", "reference")
_OF_DEVICES = ("torch", "transformers", "peft", "accelerate")


@click.command("doctor", epilog=example("sft doctor", "sft doctor --json", "HF_HUB_OFFLINE=1 sft doctor"))
@json_option
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=3.0, show_default=True, help="Seconds to wait for the hub."
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_obj
def command(invocation: Invocation, as_json: bool, timeout: float, debug: bool) -> None:
    """Show versions, devices, attention backends, memory, disk and access to the hub, and what to do next.

    Exit code 1: a library is missing, or of a version that does not work. Being offline is no fault.
    """
    invocation.debug = debug
    found = _examined(timeout)
    invocation.exit_code = 1 if found["problems"] else 0
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        _show(found)


def _examined(timeout: float) -> dict[str, Any]:
    from sft_cli.installed import installed_libraries, own_versions

    libraries = installed_libraries()
    problems = [each.problem for each in libraries if each.problem]
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": own_versions(),
        "libraries": [asdict(each) | {"problem": each.problem} for each in libraries],
        "problems": problems,
    }
    broken = any(each.problem and each.name in _OF_DEVICES for each in libraries)
    found |= _devices() if not broken else {"gpus": [], "no_gpu": "torch was not asked", "attention": {}, "kernels": {}}
    found |= _around(timeout)
    found["next"] = _next(found, libraries)
    return found


def _devices() -> dict[str, Any]:
    from sft_train.machine import attention_backends, gpus, varlen_kernels, why_no_gpu

    seen = gpus()
    return {
        "gpus": [asdict(each) for each in seen],
        "no_gpu": None if seen else why_no_gpu(),
        "attention": attention_backends(),
        "kernels": varlen_kernels(),
    }


def _around(timeout: float) -> dict[str, Any]:
    from huggingface_hub import constants, get_token

    from sft_cli.surroundings import ask_hub, free_disk, room

    cache = Path(constants.HF_HUB_CACHE)
    offline, token = constants.HF_HUB_OFFLINE, get_token() is not None
    return {
        "memory": asdict(room()),
        "disk": {"here": free_disk(Path()), "hub_cache": free_disk(cache)},
        "hub_cache": str(cache),
        "hub": asdict(ask_hub(constants.ENDPOINT, offline=offline, token=token, timeout=timeout)),
    }


def _next(found: dict[str, Any], libraries: tuple[Installed, ...]) -> list[str]:
    """What to do, the most pressing first."""
    steps = [f"install it: {each}" for each in found["problems"]]
    if not found["gpus"]:
        steps.append(f"only small models can be trained here, as there is no GPU: {found['no_gpu']}")
    elif all(why is not None for name, why in found["kernels"].items() if name not in _PLAIN):
        steps.append("sft_varlen has no kernel here, so that packed rows are slow: see the reasons above")
    steps += [
        f"install `{each.extra}` to use {each.name}"
        for each in libraries
        if each.name == "bitsandbytes" and each.version is None
    ]
    if not (found["hub"]["reached"] or found["hub"]["answer"].startswith("not asked")):
        steps.append("give folders as base_model and datasets, or what is in the hub's cache: the hub is out of reach")
    elif found["hub"]["reached"] and not found["hub"]["token"]:
        steps.append("run `hf auth login` for models that ask for it: there is no login here")
    if found["disk"]["hub_cache"] < _LOW_DISK:
        steps.append(f"set HF_HOME to a larger disk: {found['disk']['hub_cache']:.0f} GB are free for downloads")
    if found["disk"]["here"] < _LOW_DISK:
        steps.append(f"set output_dir on a larger disk: {found['disk']['here']:.0f} GB are free here for checkpoints")
    if found["memory"]["free"] < _LOW_MEMORY:
        steps.append(f"close other programs: {found['memory']['free']:.1f} GB of memory are free")
    return [*steps, "write a first config with `sft init`"]


def _show(found: dict[str, Any]) -> None:
    from sft_cli.visible import visible

    blocks = (
        ("versions", _version_lines(found)),
        ("devices", _device_lines(found)),
        ("attention (attn_implementation)", _reasons(found["attention"])),
        ("kernels of sft_varlen, best first", _reasons(found["kernels"])),
        ("disk and hub", _around_lines(found)),
        ("next", found["next"]),
    )
    for title, lines in blocks:
        click.echo(title)
        for line in lines:
            click.echo(visible(f"    {line}"))


def _version_lines(found: dict[str, Any]) -> list[str]:
    own = ", ".join(f"{name} {version or 'not installed'}" for name, version in found["packages"].items())
    lines = [f"Python {found['python']} on {found['system']}", own]
    needed = [each for each in found["libraries"] if each["extra"] is None]
    extras = [each for each in found["libraries"] if each["extra"] is not None]
    lines.append(", ".join(f"{each['name']} {each['version']}" for each in needed if each["version"]))
    there = [f"{each['name']} {each['version']}" for each in extras if each["version"]]
    absent = [f"{each['name']} ({each['extra']})" for each in extras if not each["version"]]
    lines += [f"extras: {', '.join(there) or 'none'}"]
    lines += [f"not installed, and not always needed: {', '.join(absent)}"] if absent else []
    return lines + [f"PROBLEM: {each}" for each in found["problems"]]


def _device_lines(found: dict[str, Any]) -> list[str]:
    lines = [
        f"GPU {index}: {gpu['name']}, {gpu['gigabytes']:.0f} GB, {gpu['free']:.0f} free, compute capability "
        f"{gpu['capability'] / 10:.1f}, {'bfloat16' if gpu['bf16'] else 'no bfloat16'}"
        for index, gpu in enumerate(found["gpus"])
    ]
    memory = found["memory"]
    cpu = f"CPU: {memory['cores']} cores, {memory['gigabytes']:.1f} GB, {memory['free']:.1f} free"
    return [*(lines or [f"no GPU: {found['no_gpu']}"]), cpu]


def _reasons(table: dict[str, str | None]) -> list[str]:
    width = max(map(len, table), default=0)
    return [f"{name:<{width}}  {'works' if why is None else f'no: {why}'}" for name, why in table.items()]


def _around_lines(found: dict[str, Any]) -> list[str]:
    hub, disk = found["hub"], found["disk"]
    login = "a login is stored" if hub["token"] else "no login is stored"
    return [
        f"{disk['here']:.0f} GB free in this folder, {disk['hub_cache']:.0f} GB for downloads ({found['hub_cache']})",
        f"{hub['address']} {hub['answer']} after {hub['seconds']:.1f} s; {login}",
    ]
