"""Settings that no other test turns: each changes what it says it changes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sft_data.source import read_rows
from sft_schema import ConfigError, SftConfig, parse_config
from sft_schema.config import DatasetConfig
from sft_schema.record import Manifest, PackPlan
from sft_train.compute import Compute
from sft_train.model import load_model
from sft_train.observer import Silent
from sft_train.run import run
from sft_train.testing import tiny_model, write_conversations
from sft_train.trainer import training_arguments

CPU = Compute(bf16=False, use_cpu=True)


def config(folder: Path, **values: object) -> SftConfig:
    settings = {
        "base_model": str(folder / "model"),
        "datasets": [{"path": str(folder / "train.jsonl")}],
        "dataset_prepared_path": str(folder / "prepared"),
        "output_dir": str(folder / "out"),
        "learning_rate": 1e-3,
        "sequence_len": 512,
        **values,
    }
    return parse_config(json.dumps(settings))


def test_settings_of_the_optimizer_reach_it(tmp_path: Path) -> None:
    wanted = {"weight_decay": 0.01, "adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-6, "max_grad_norm": 0.5}
    args = training_arguments(config(tmp_path, **wanted), CPU)
    assert {name: getattr(args, name) for name in wanted} == wanted


def test_ds_type_says_what_a_file_is_whose_ending_does_not(tmp_path: Path) -> None:
    file = tmp_path / "rows.txt"
    file.write_text('{"text": "a"}\n', encoding="utf-8")
    (row,) = read_rows(DatasetConfig(path=str(file), ds_type="json"))
    assert row.values == {"text": "a"}  # type: ignore[union-attr]


class Plan(Silent):
    """Keeps the plan of the first epoch."""

    def prepared(self, manifest: Manifest, plan: PackPlan) -> None:
        self.plan = plan


@pytest.mark.parametrize("shuffled", [False, True])
def test_shuffle_merged_datasets_decides_the_order_of_the_rows(tmp_path: Path, shuffled: bool) -> None:
    tiny_model(tmp_path / "model")
    write_conversations(tmp_path / "train.jsonl", 12)
    seen = Plan()
    run(config(tmp_path, shuffle_merged_datasets=shuffled, max_steps=1, save_strategy="no"), seen)
    assert (seen.plan.samples.tolist() == list(range(12))) is not shuffled


OWN_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


def test_python_code_of_a_model_runs_only_when_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tiny_model(tmp_path / "model")
    (folder / "own.py").write_text(OWN_CODE, encoding="utf-8")
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    values |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}}
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ConfigError, match="trust_remote_code"):
        load_model(config(tmp_path), 1, CPU)
    model = load_model(config(tmp_path, trust_remote_code=True), 1, CPU)
    assert type(model).__name__ == "OwnModel"


READ_VERSION = """
import sys
from sft_data import load_tokenizer
from sft_schema import parse_config
text = "base_model: some/model\\ndatasets: [{path: a}]\\nlearning_rate: 1e-4\\nrevision_of_model: " + sys.argv[1]
print(load_tokenizer(parse_config(text)).folder.name)
"""


def test_revision_of_model_chooses_the_tokenizers_version(tmp_path: Path) -> None:
    """In a cache of two versions, laid out as huggingface_hub does, without a network."""
    repo = tmp_path / "hub" / "models--some--model"
    (repo / "refs").mkdir(parents=True)
    commits = {"first": "1" * 40, "second": "2" * 40}
    for name, commit in commits.items():
        (repo / "refs" / name).write_text(commit, encoding="utf-8")
        tiny_model(repo / "snapshots" / commit, weights=False)
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    for name, commit in commits.items():
        command = [sys.executable, "-c", READ_VERSION, name]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == commit, done.stderr
