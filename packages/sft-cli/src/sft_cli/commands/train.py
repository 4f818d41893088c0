"""`sft train`: the whole run, its outcome and its report."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from sft_cli.invocation import Invocation
from sft_cli.options import config_options, example
from sft_cli.visible import visible

if TYPE_CHECKING:
    from sft_schema import SftConfig
    from sft_schema.record import Manifest, RunSummary

_WRONG_INPUT = 2
_TEMPORARY_FAILURE = 75
"""EX_TEMPFAIL of sysexits.h: trying again is what helps."""


@click.command(
    "train",
    epilog=example(
        "sft train config.yaml",
        "sft train config.yaml --set num_epochs=2 --set output_dir=out",
        "sft train config.yaml --set resume_from_checkpoint=true",
        "sft train config.yaml -- --nproc-per-node 4",
    ),
)
@config_options
@click.option(
    "--launcher",
    type=click.Choice(["torchrun", "accelerate", "none"]),
    help="What starts a process per GPU; torchrun where several are visible.",
)
@click.argument("launcher_arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def command(
    invocation: Invocation,
    config: str,
    overrides: tuple[str, ...],
    launcher: Literal["torchrun", "accelerate", "none"] | None,
    launcher_arguments: tuple[str, ...],
) -> None:
    """Fine-tune a model as CONFIG says: data, training, scores before and after, model and report.

    Where several GPUs are visible each gets a process. LAUNCHER_ARGUMENTS, after `--`, are the launcher's own, such as
    `-- --nproc-per-node 4`.
    """
    if launcher_arguments and not launcher_arguments[0].startswith("-"):
        raise click.UsageError(
            f"got {launcher_arguments[0]!r} besides CONFIG; arguments of the launcher stand after --"
        )
    from sft_cli.config_file import read_config

    cfg = read_config(config, overrides)
    started_by = (
        *(("--launcher", launcher) if launcher else ()),
        *(("--", *launcher_arguments) if launcher_arguments else ()),
    )
    invocation.when_stopped = lambda: _how_to_resume(cfg.output_dir, config, overrides, started_by)

    from sft_train.launch import processes_to_launch

    chosen = processes_to_launch(launcher, launcher_arguments)
    if chosen != "none":
        _launch(invocation, chosen, (config, overrides), launcher_arguments)
        return
    from sft_cli.console import messages
    from sft_cli.progress import RunProgress
    from sft_schema import StoppedEarlyError
    from sft_train.launch import tell_launcher
    from sft_train.run import run

    with RunProgress(messages()) as progress:
        try:
            run(cfg, progress)
        except StoppedEarlyError as stopped:
            invocation.exit_code = _TEMPORARY_FAILURE
            if not tell_launcher(stopped.message):
                click.echo(visible(f"{stopped.message}.\n{invocation.when_stopped()}"), err=True)
            return
    if progress.summary is not None and progress.manifest is not None:
        _conclude(cfg, progress.summary, progress.manifest)


def _launch(
    invocation: Invocation,
    launcher: Literal["torchrun", "accelerate"],
    run: tuple[str, tuple[str, ...]],
    arguments: tuple[str, ...],
) -> None:
    """Runs the same command in one process per device, and says which failed first, and why."""
    from sft_train.launch import launch

    config, overrides = run
    words = ["train", config, *(word for each in overrides for word in ("--set", each))]
    words += ["--env"] if invocation.env else []
    words += ["--debug"] if invocation.debug else []
    failure = launch(launcher, words, arguments)
    if failure is None:
        return
    if failure.exit_code == _TEMPORARY_FAILURE:
        invocation.exit_code = _TEMPORARY_FAILURE
        click.echo(visible(f"{failure.message}.\n{invocation.when_stopped()}"), err=True)
        return
    invocation.exit_code = failure.exit_code if failure.exit_code > 0 else 1
    who = "" if failure.rank < 0 else f"rank {failure.rank} failed first, and the others were ended: "
    # A wrong config stays wrong.
    what_next = "" if failure.exit_code == _WRONG_INPUT else f"\n{invocation.when_stopped()}"
    click.echo(visible(f"{who}{failure.message}{what_next}"), err=True)


def _conclude(cfg: SftConfig, summary: RunSummary, manifest: Manifest) -> None:
    """Prints the outcome and writes the report."""
    from sft_cli.html import write_report
    from sft_cli.outcome import answers_text, figures_text, health_text
    from sft_data import inspect_rows
    from sft_train.callback import read_metrics

    out = Path(cfg.output_dir)
    metrics = read_metrics(out / "metrics.jsonl")
    config_text = (out / "sft_config.yaml").read_text(encoding="utf-8")
    report = write_report(out, summary, metrics, manifest, inspect_rows(cfg)[0], config_text)
    if summary.samples:
        click.echo(f"\n{answers_text(summary.samples)}")
    click.echo(f"\n{figures_text(summary)}\n")
    click.echo(health_text(summary))
    click.echo(f"model   {out}")
    click.echo(f"report  {report}")
    if not (out / "processor_config.json").is_file():
        click.echo(f"chat    sft inference {shlex.quote(str(out))}")
    click.echo(f"try it  {_how_to_use(out)}")


def _how_to_use(out: Path) -> str:
    """A command that prints an answer of the model in `out`, which is a whole model or an adapter."""
    if (out / "processor_config.json").is_file():
        asked = '[{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]'
        call = (
            f'pipeline("image-text-to-text", {json.dumps(str(out))})(text={asked})[0]["generated_text"][-1]["content"]'
        )
        return f"python -c {shlex.quote(f'from transformers import pipeline; print({call})')}"
    chat = (out / "chat_template.jinja").is_file()
    asked = '[{"role": "user", "content": "Hello"}]' if chat else '"Hello"'
    answer = '[0]["generated_text"]' + ('[-1]["content"]' if chat else "")
    folder = json.dumps(str(out))
    imports, model = "from transformers import pipeline", folder
    if (out / "adapter_config.json").is_file():
        imports += "; from peft import AutoPeftModelForCausalLM as Model"
        model = f"Model.from_pretrained({folder}).merge_and_unload(), tokenizer={folder}"
    code = f'{imports}; print(pipeline("text-generation", {model})({asked}){answer})'
    return f"python -c {shlex.quote(code)}"


def _how_to_resume(output_dir: str, config: str, overrides: tuple[str, ...], started_by: tuple[str, ...]) -> str:
    kept = [override for override in overrides if not override.startswith("resume_from_checkpoint=")]
    words = ["sft", "train", config]
    for override in (*kept, "resume_from_checkpoint=true"):
        words += ["--set", override]
    words += started_by
    if any(Path(output_dir).glob("checkpoint-*")):
        return f"Go on from the newest checkpoint in {output_dir} with:\n    {shlex.join(words)}"
    return f"There is no checkpoint in {output_dir} yet; begin again with the same command."
