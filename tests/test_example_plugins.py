"""Plug-ins of training, as they are installed: from a distribution on the search path."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sft_schema import ConfigError, SftConfig, parse_config
from sft_train.run import run
from sft_train.testing import tiny_model, write_conversations

torch.set_num_threads(1)

EXAMPLES = Path(__file__).parents[1] / "examples" / "plugins"
OWN = """
import torch
from sft_schema.config import Section
from sft_train.plugin import TrainingPlugin

class Scale(Section):
    factor: float = 1.0

class Halved(TrainingPlugin):
    Settings = Scale
    def loss(self, summed):
        return lambda model, batch: self.settings.factor * summed(model, batch)

class Plain(TrainingPlugin):
    def optimizer(self, model, decayed):
        return torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=self.cfg.learning_rate)

Again = Plain
number = 3
"""
LORA = {"adapter": "lora", "lora_target_linear": "true", "lora_r": "4"}


def install(folder: Path, name: str, groups: dict[str, dict[str, str]]) -> None:
    """As an installer lays it out."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    lines = (
        f"[{group}]\n" + "".join(f"{key}={value}\n" for key, value in each.items()) for group, each in groups.items()
    )
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("site")
    project = tomllib.loads((EXAMPLES / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    install(folder, "sft_example_plugins", project["entry-points"])
    (folder / "own_plugins.py").write_text(OWN, encoding="utf-8")
    names = {name.lower(): f"own_plugins:{name}" for name in ("Halved", "Plain", "Again", "number")}
    install(folder, "own_plugins", {"sft.training": names})
    added = [str(folder), str(EXAMPLES)]
    sys.path[:0] = added
    yield
    sys.path[:] = [each for each in sys.path if each not in added]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., SftConfig]:
    tiny_model(tmp_path / "model", layers=4, hidden=16)
    write_conversations(tmp_path / "train.jsonl", 12, seed=3)

    def make(plugins: str, **settings: str) -> SftConfig:
        given = {
            "base_model": str(tmp_path / "model"),
            "datasets": f"[{{path: {tmp_path}/train.jsonl}}]",
            "dataset_prepared_path": str(tmp_path / "prepared"),
            "output_dir": str(tmp_path / "out"),
            "sequence_len": "256",
            "learning_rate": "1e-2",
            "max_steps": "4",
            "training_plugins": plugins,
        } | settings
        return parse_config("".join(f"{key}: {value}\n" for key, value in given.items()))

    return make


def changed(cfg: SftConfig) -> set[str]:
    before, after = (load_file(Path(each) / "model.safetensors") for each in (cfg.base_model, cfg.output_dir))
    return {name for name, weight in before.items() if not weight.equal(after[name])}


def test_a_plugin_may_change_loss_and_optimizer(make: Callable[..., SftConfig], tmp_path: Path) -> None:
    halved = run(make("{halved: {factor: 0.5}}", max_steps="1"))
    whole = run(make("{}", max_steps="1", output_dir=str(tmp_path / "whole")))
    assert halved.train_loss_first == pytest.approx(whole.train_loss_first / 2, abs=1e-4)
    out = {"max_steps": "2", "max_grad_norm": "0", "lr_scheduler": "constant"}
    by_plugin = make("{plain: {}}", output_dir=str(tmp_path / "plugin"), **out)
    by_name = make("{}", output_dir=str(tmp_path / "name"), optimizer="sgd", **out)
    for cfg in (by_plugin, by_name):
        run(cfg)
    one, two = (load_file(Path(cfg.output_dir) / "model.safetensors") for cfg in (by_plugin, by_name))
    assert all(one[name].equal(two[name]) for name in two)


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ("{lizard: {}}", "nobody offers 'lizard'"),
        ("{lisa: {layer: 1}}", r"layer: Extra inputs are not permitted: 1[\s\S]*lisa has: layers, every"),
        ("{lisa: {layers: two}}", r"layers: Input should be a valid integer: 'two'"),
        ("{lisa: {layers: 9}}", "9 layers of 4"),
        ("{number: {}}", "is 3, which is no class of TrainingPlugin"),
        ("{plain: {}, again: {}}", "Plain and Plain each bring one"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_said(make: Callable[..., SftConfig], plugins: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(make(plugins))


def test_lisa_trains_other_layers_by_turns_and_resumes_exactly(make: Callable[..., SftConfig], tmp_path: Path) -> None:
    plugin = "{lisa: {layers: 1, every: 2}}"
    cfg = make(plugin, save_steps="1", save_total_limit="9", save_async="true")
    run(cfg)
    steps = [load_file(Path(cfg.output_dir) / f"checkpoint-{step}" / "model.safetensors") for step in (1, 2, 3, 4)]
    before = load_file(Path(cfg.base_model) / "model.safetensors")
    trained = []
    for one, two in zip([before, *steps], steps, strict=False):
        names = {name for name, weight in one.items() if not weight.equal(two[name])}
        assert {"model.embed_tokens.weight", "lm_head.weight"} <= names
        trained.append({name.split(".")[2] for name in names if ".layers." in name})
    assert trained[0] == trained[1] != trained[2] == trained[3]
    assert {len(each) for each in trained} == {1}
    again = make(plugin, output_dir=str(tmp_path / "again"), resume_from_checkpoint=f"{cfg.output_dir}/checkpoint-3")
    run(again)
    one, two = (load_file(Path(each) / "model.safetensors") for each in (cfg.output_dir, again.output_dir))
    assert all(one[name].equal(two[name]) for name in two)


def test_spectrum_trains_the_matrices_with_the_most_signal(make: Callable[..., SftConfig]) -> None:
    cfg = make("{spectrum: {part: 0.25}}")
    file = Path(cfg.base_model) / "model.safetensors"
    weights = load_file(file)
    weights["model.layers.2.mlp.up_proj.weight"] += torch.outer(torch.ones(32), torch.ones(16))
    save_file(weights, file, metadata={"format": "pt"})
    summary = run(cfg)
    found = changed(cfg)
    assert {name for name in found if "up_proj" in name} == {"model.layers.2.mlp.up_proj.weight"}
    assert len(found) == 8  # one of each of seven kinds, and the head
    assert summary.trainable_parameters == sum(weights[name].numel() for name in found)


def test_relora_leaves_a_whole_model_with_all_adapters_in_it(make: Callable[..., SftConfig]) -> None:
    settings = LORA | {"save_strategy": '"no"', "max_steps": "4"}
    cfg = make("{relora: {every: 2}}", **settings)
    run(cfg)
    merged = load_file(Path(cfg.output_dir) / "merged" / "model.safetensors")
    before = load_file(Path(cfg.base_model) / "model.safetensors")
    assert merged.keys() == before.keys()
    name = "model.layers.0.mlp.up_proj.weight"
    last = load_file(Path(cfg.output_dir) / "adapter_model.safetensors")
    a, b = (last[f"base_model.model.{name.removesuffix('.weight')}.lora_{each}.weight"] for each in "AB")
    rank = int(torch.linalg.matrix_rank(merged[name] - before[name], tol=1e-5))
    assert rank > 4, "what two adapters of rank 4 learnt, not one"
    assert int(torch.linalg.matrix_rank(merged[name] - 8 * (b @ a) - before[name], tol=1e-5)) == 4
    with pytest.raises(ConfigError, match="would hold the last adapter alone"):
        run(make("{relora: {}}", **LORA))
