"""Computes every cell of the table of loss invariance with the real trainer, in this process or those of torchrun.

    python tools/invariance/measure.py OUT.json [--ci]
    torchrun --nproc-per-node 2 tools/invariance/measure.py OUT.json [--ci]

A cell is one optimizer step over all samples: SftTrainer with plain SGD at rate 1, so that a step's change of the
weights is its gradient, and the held-out loss before it. It is compared with the same step in float64, one sample at a
time through a model of its own, with eager attention and torch's cross entropy: nothing of the trainer is in that.
"""

from __future__ import annotations

import copy
import gc
import json
import os
import sys
import tempfile
import warnings
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"  # before triton is imported; ops take triton where it is asked for, and only there

import torch
from cells import CUTS, FLEX, TRITON, Cell, Differences, cells, faulty, in_ci
from torch import Tensor, distributed, nn
from torch.nn import functional
from trainers import TRAINERS, Padded
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from sft_data import Prepared, prepare
from sft_kernels import use_backend
from sft_kernels.testing.interpreter import correct_interpreter
from sft_schema import SftConfig, parse_config
from sft_train.adapter import add_adapter
from sft_train.compute import Compute
from sft_train.model import load_model
from sft_train.testing import tiny_model, write_conversations
from sft_train.trainer import SftTrainer, training_arguments

SAMPLES, HELD_OUT, ROW = 5, 3, 160
SHAPE = {
    "vocab_size": 264,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "initializer_range": 0.2,
    "eos_token_id": 2,
    "bos_token_id": None,
}
"""Small for triton's interpreter, with weights so large that attention has a visible say."""
CPU = Compute(bf16=False, use_cpu=True)
WEIGHTS = (0.1, 1.1, 2.1, 3.1)


class Table:
    """Model and data of the cells, made once for each process.

    Args:
        folder: an empty one of this process.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        tiny_model(folder / "model", weights=False)
        set_seed(7)
        LlamaForCausalLM(LlamaConfig(**SHAPE)).save_pretrained(folder / "model")
        for name, count, seed in (("train", SAMPLES, 3), ("held-out", HELD_OUT, 4)):
            file = write_conversations(folder / f"{name}-equal.jsonl", count, seed=seed, longest=5)
            _weigh(file, folder / f"{name}-weighted.jsonl")
        self.model = cache(self._model)
        self.data = cache(self._data)
        self.reference = cache(self._reference)

    def config(self, cell: Cell) -> SftConfig:
        """The cell as a config of ours."""
        micro, accumulation = CUTS[cell.cut]
        lora = {"adapter": "lora", "lora_target_linear": True, "lora_r": 4} if cell.kind == "lora" else {}
        return parse_config(
            json.dumps(
                {
                    "base_model": str(self._folder / "model"),
                    "datasets": [{"path": str(self._folder / f"train-{cell.weights}.jsonl")}],
                    "test_datasets": [{"path": str(self._folder / f"held-out-{cell.weights}.jsonl")}],
                    "dataset_prepared_path": str(self._folder / "prepared"),
                    "output_dir": str(self._folder / "out"),
                    "attn_implementation": cell.attention.split()[0],
                    "sequence_len": ROW,
                    "sample_packing": cell.layout == "packed",
                    "micro_batch_size": micro,
                    "eval_batch_size": micro,
                    "gradient_accumulation_steps": accumulation,
                    "num_epochs": 1,
                    "optimizer": "sgd",
                    "learning_rate": 1.0,
                    "lr_scheduler": "constant",
                    "max_grad_norm": 0,
                    "save_strategy": "no",
                    "eval_strategy": "no",
                    **lora,
                }
            )
        )

    def _model(self, kind: str, attention: str) -> nn.Module:
        """A model to copy. The loader refuses flex attention on a CPU, where it cannot train."""
        cell = Cell(attention.replace(FLEX, "sdpa"), "packed", kind, "equal", "1x8", 1)
        cfg = self.config(cell)
        model = add_adapter(load_model(cfg, 0, CPU), cfg)
        model.set_attn_implementation(attention.split()[0])
        draw = torch.Generator().manual_seed(5)
        for name, each in model.named_parameters():
            if "lora_B" in name:  # at their usual start of 0 the gradients of A are 0
                torch.nn.init.normal_(each, std=0.05, generator=draw)
        return model

    def _data(self, weights: str) -> Prepared:
        return prepare(self.config(Cell("eager", "packed", "full", weights, "1x8", 1)))

    def _reference(self, kind: str, weights: str) -> tuple[float, dict[str, Tensor], float]:
        """Loss, gradients by name and held-out loss, written out sample by sample in float64."""
        model = copy.deepcopy(self.model(kind, "eager")).double()
        data = self.data(weights)
        loss = mean_over_tokens(model, data.train)
        loss.backward()
        gradients = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
        with torch.no_grad():
            return float(loss), gradients, float(mean_over_tokens(model, data.eval))


def _weigh(source: Path, target: Path) -> None:
    """The same conversations, with weights for their last answers."""
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["messages"][-1]["weight"] = WEIGHTS[number % len(WEIGHTS)]
    target.write_text("".join(json.dumps(row) + "\n" for row in rows))


def mean_over_tokens(model: nn.Module, samples: Any) -> Tensor:
    """Sum of weight x negative log-likelihood over the sum of weights; each sample alone in a forward pass."""
    total, weight = torch.zeros((), dtype=torch.float64), 0.0
    for sample in samples:
        ids, labels = (torch.tensor(each.tolist()) for each in (sample.input_ids, sample.labels))
        counts = (labels != -100).double() if sample.weights is None else torch.tensor(sample.weights.tolist()).double()
        nll = functional.cross_entropy(model(input_ids=ids[None]).logits[0, :-1], labels[1:], reduction="none")
        total, weight = total + (nll * counts[1:]).sum(), weight + float(counts[1:].sum())
    return total / weight


def measure(table: Table, cell: Cell) -> Differences:
    """What the trainer computes, against the reference."""
    cfg, model = table.config(cell), copy.deepcopy(table.model(cell.kind, cell.attention))
    data = table.data(cell.weights)
    kind = Padded if cell.layout == "padded" else TRAINERS[cell.fault]
    tokenizer = data.tokenizer.backend
    trainer = kind(model, training_arguments(cfg, CPU), cfg=cfg, prepared=data, tokenizer=tokenizer, callbacks=[])
    loss, gradients, held_out = table.reference(cell.kind, cell.weights)
    with use_backend("triton", "varlen_attention") if cell.attention == TRITON else nullcontext():
        own_held_out = trainer.held_out_loss()
        if cell.attention == FLEX:
            own_loss = forward_alone(trainer)
            return Differences(abs(own_loss - loss), None, abs(own_held_out - held_out))
        before = {name: each.detach().clone() for name, each in model.named_parameters() if each.requires_grad}
        trainer.train()
    (own_loss,) = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert before.keys() == gradients.keys()
    far = max(float((before[name] - each - gradients[name]).abs().max()) for name, each in _trained(model, before))
    return Differences(abs(own_loss - loss), far, abs(own_held_out - held_out))


def _trained(model: nn.Module, names: Any) -> list[tuple[str, Tensor]]:
    return [(name, each.detach()) for name, each in model.named_parameters() if name in names]


def forward_alone(trainer: SftTrainer) -> float:
    """The loss of the step that the trainer would do."""
    trainer.state.max_steps = 1
    accumulation = trainer.args.gradient_accumulation_steps
    batches, weight = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), accumulation, torch.device("cpu"))
    with torch.no_grad():
        parts = [trainer.compute_loss(trainer.model, each, num_items_in_batch=weight) for each in batches]
    return float(trainer.accelerator.reduce(torch.stack(parts).sum(), "mean"))


def worst_of_processes(found: list[Differences]) -> list[Differences]:
    """The largest difference of each cell on any process."""
    numbers = torch.tensor([[each or 0.0 for each in row] for row in found], dtype=torch.float64)
    if distributed.is_initialized():
        distributed.all_reduce(numbers, distributed.ReduceOp.MAX)
    return [
        Differences(*(None if old is None else new for old, new in zip(row, each, strict=True)))
        for row, each in zip(found, numbers.tolist(), strict=True)
    ]


def main(out: Path, ci: bool) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    correct_interpreter()
    # As torch writes it out: compiled for a CPU it fails on rows of a second length (torch 2.15), and is slow to build.
    torch.compiler.set_stance("force_eager")
    gc.freeze()  # the Trainer collects garbage in every run, which need not look at all that was imported
    ranks, process = (int(os.environ.get(name, default)) for name, default in (("WORLD_SIZE", 1), ("RANK", 0)))
    wanted = [cell for cell in (*cells(ranks), *faulty(ranks)) if not ci or in_ci(cell)]
    with tempfile.TemporaryDirectory() as scratch:
        table = Table(Path(scratch))
        found = worst_of_processes([measure(table, cell) for cell in wanted])
    if process == 0:
        rows = [cell._asdict() | each._asdict() for cell, each in zip(wanted, found, strict=True)]
        out.write_text(json.dumps(rows), encoding="utf-8")
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--ci" in sys.argv[2:])
