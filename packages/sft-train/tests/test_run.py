from __future__ import annotations

import json
import stat
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, OPTConfig

from sft_schema import ConfigError, SftConfig, load_config
from sft_schema.record import Manifest, PackPlan, RunSummary
from sft_train.run import run
from sft_train.testing import CHATML, tiny_model

MakeConfig = Callable[..., SftConfig]

# An extra: the package is also tested without it.
TENSORBOARD = find_spec("tensorboard") is not None


class Recorder:
    """Keeps everything that an observer is told."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.manifest: Manifest | None = None
        self.plan: PackPlan | None = None
        self.begun: tuple[int, int] | None = None
        self.lines: list[tuple[int, dict[str, float]]] = []
        self.summary: RunSummary | None = None

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def prepared(self, manifest: Manifest, plan: PackPlan) -> None:
        self.manifest, self.plan = manifest, plan

    def started(self, steps: int, done: int) -> None:
        self.begun = (steps, done)

    def logged(self, step: int, metrics: dict[str, float]) -> None:
        self.lines.append((step, metrics))

    def finished(self, summary: RunSummary) -> None:
        self.summary = summary


@pytest.fixture
def heldout(data_folder: Path) -> dict[str, Any]:
    return {"test_datasets": f"[{{path: {data_folder / 'heldout.jsonl'}}}]"}


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_full_run_learns_and_leaves_everything_in_place(config: MakeConfig, heldout: dict[str, Any]) -> None:
    cfg = config(
        num_epochs="6",
        do_causal_lm_eval="true",
        eval_causal_lm_metrics="[exact_match, chrf, rouge_l]",
        eval_max_new_tokens="8",
        eval_strategy="epoch",
        eval_table_size="2",
        use_tensorboard=str(TENSORBOARD).lower(),
        **heldout,
    )
    recorder = Recorder()
    summary = run(cfg, recorder)
    out = Path(cfg.output_dir)

    assert summary.train_loss_last < summary.train_loss_first
    assert summary.eval_loss_after < summary.eval_loss_before
    assert summary.exact_match_before is not None
    assert summary.answer_scores_before.keys() == summary.answer_scores_after.keys() == {"chrf", "rouge_l"}
    assert len(summary.samples) == cfg.eval_table_size
    assert summary.parameters == summary.trainable_parameters
    assert recorder.summary == summary == RunSummary.model_validate_json((out / "summary.json").read_text())
    assert recorder.begun == (summary.steps, 0)
    assert recorder.plan is not None
    assert recorder.plan.efficiency > 0.8

    lines = metrics(out)
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, summary.steps + 1))
    assert {"eval_loss", "eval_exact_match", "eval_chrf", "eval_rouge_l"} <= {key for line in lines for key in line}
    assert lines[2].keys() >= {"grad_norm", "learning_rate", "tokens_per_second", "trained_tokens_per_second"}
    assert any((out / "runs").glob("events.out.tfevents.*")) == TENSORBOARD

    table = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    per_epoch = summary.steps // 6
    assert [line["step"] for line in table] == [step * per_epoch for step in range(1, 7) for _ in range(2)]
    assert [line["answer"] for line in table[-2:]] == [each.after for each in summary.samples]

    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.config.use_cache is True
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.chat_template == CHATML
    assert GenerationConfig.from_pretrained(out).eos_token_id == [2]
    assert load_config(out / "sft_config.yaml").model_dump() == cfg.model_dump()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in out.iterdir() if path.is_file()}
    assert set(modes.values()) == {modes["summary.json"]}, "a file has permissions of its own"


def test_lora_run_saves_an_adapter_that_loads(config: MakeConfig) -> None:
    cfg = config(adapter="lora", lora_target_linear="true", lora_r="4", max_steps="3", learning_rate="1e-2")
    summary = run(cfg)
    out = Path(cfg.output_dir)
    assert summary.trainable_parameters < summary.parameters
    assert not (out / "model.safetensors").exists()
    base = AutoModelForCausalLM.from_pretrained(cfg.base_model)
    adapted = PeftModel.from_pretrained(base, out)
    moved = [each for name, each in adapted.named_parameters() if "lora_B" in name]
    assert moved
    ids = torch.tensor([[5, 6, 7]])
    by_name = AutoModelForCausalLM.from_pretrained(out)
    torch.testing.assert_close(by_name(ids).logits, adapted.eval()(ids).logits)
    assert AutoTokenizer.from_pretrained(out).chat_template == CHATML
    assert all(each.abs().sum() > 0 for each in moved)


def test_same_config_gives_same_weights(config: MakeConfig, tmp_path: Path) -> None:
    first = config(max_steps="3", reinit_weights="true")
    second = config(max_steps="3", reinit_weights="true", output_dir=str(tmp_path / "again"))
    run(first)
    run(second)
    one, two = (load_file(Path(each.output_dir) / "model.safetensors") for each in (first, second))
    assert all(one[name].equal(two[name]) for name in one)


def test_bf16_on_a_cpu_trains(config: MakeConfig) -> None:
    in_float32 = run(config(max_steps="4"))
    cfg = config(max_steps="4", bf16="true", output_dir=str(Path(config().output_dir) / "bf16"))
    summary = run(cfg)
    assert summary.train_loss_last < summary.train_loss_first
    assert summary.train_loss_first == pytest.approx(in_float32.train_loss_first, rel=2e-2)
    assert summary.train_loss_first != in_float32.train_loss_first, "computed in float32"
    assert load_file(Path(cfg.output_dir) / "model.safetensors")["lm_head.weight"].dtype.is_floating_point
    assert str(load_file(Path(cfg.output_dir) / "model.safetensors")["lm_head.weight"].dtype) == "torch.float32"


def test_output_dir_with_checkpoints_is_refused_unless_resuming(config: MakeConfig) -> None:
    cfg = config(max_steps="2", save_strategy="steps", save_steps="1")
    run(cfg)
    with pytest.raises(ConfigError, match=r"checkpoint-2[\s\S]*resume_from_checkpoint: true"):
        run(cfg)


def test_output_dir_without_checkpoints_is_overwritten(config: MakeConfig) -> None:
    cfg = config(max_steps="2", save_strategy='"no"')
    run(cfg)
    run(cfg)
    assert [line["step"] for line in metrics(Path(cfg.output_dir))] == [1, 2]


def test_finished_run_resumes_to_the_same_model(config: MakeConfig) -> None:
    first = run(config(max_steps="2", save_strategy="steps", save_steps="1"))
    cfg = config(max_steps="2", save_strategy="steps", save_steps="1", resume_from_checkpoint="true")
    before = load_file(Path(cfg.output_dir) / "model.safetensors")
    recorder = Recorder()
    second = run(cfg, recorder)
    after = load_file(Path(cfg.output_dir) / "model.safetensors")
    assert all(before[name].equal(after[name]) for name in before)
    assert recorder.begun == (2, 2)
    assert second.resumed_from is not None
    assert (second.train_loss_first, second.train_loss_last) == (first.train_loss_first, first.train_loss_last)


def test_model_that_mixes_packed_samples_is_refused_and_trains_unpacked(config: MakeConfig, tmp_path: Path) -> None:
    """OPT counts positions itself, so transformers cannot tell where a packed sample begins."""
    folder = tiny_model(tmp_path / "opt", weights=False)
    OPTConfig(
        vocab_size=264,
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    ).save_pretrained(folder)
    settings = {"base_model": str(folder), "reinit_weights": "true", "max_steps": "1"}
    with pytest.raises(ConfigError, match=r"opt: its attention mask is built without[\s\S]*`sample_packing: false`"):
        run(config(**settings))
    assert run(config(sample_packing="false", **settings)).steps == 1


def test_generated_answers_without_held_out_questions_are_refused(config: MakeConfig, tmp_path: Path) -> None:
    """Rows that end with a question have no answer to compare with."""
    messages = [{"role": role, "content": "Hello"} for role in ("user", "assistant", "user")]
    (tmp_path / "open.jsonl").write_text(json.dumps({"messages": messages}) + "\n", encoding="utf-8")
    held_out = f"[{{path: {tmp_path / 'open.jsonl'}}}]"
    with pytest.raises(ConfigError, match="no held-out conversation ends with an answer"):
        run(config(do_causal_lm_eval="true", test_datasets=held_out, max_steps="1"))
