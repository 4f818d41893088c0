"""From the head's weights or from its logits in parts, the loss is the same, and never holds all logits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from sft_schema import IGNORE_INDEX, ConfigError, SftConfig
from sft_schema.record import PackedRow
from sft_train.loss import forward_call, next_token_nll, summed_loss
from sft_train.loss.chunked import chunked_nll
from sft_train.loss.fused import fused_nll, parts_of
from sft_train.trainer import SftTrainer
from sft_train.trainer.rows import to_tensors

MakeConfig = Callable[..., SftConfig]
MakeTrainer = Callable[[SftConfig], SftTrainer]
SIZES: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def lora(config: Any, model: type[nn.Module], **settings: Any) -> nn.Module:
    return get_peft_model(model(config), LoraConfig(r=2, init_lora_weights=False, **settings))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "tied": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True)),
    "softcap": lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, final_logit_softcapping=1.5)),
    "bias": lambda: PhiForCausalLM(PhiConfig(**SIZES)),
    "scaled up": lambda: CohereForCausalLM(CohereConfig(**SIZES, logit_scale=3.0)),
    "scaled down": lambda: GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=3.0)),
    "LoRA": lambda: lora(LlamaConfig(**SIZES), LlamaForCausalLM, target_modules=["q_proj"]),
    "LoRA with dropout on the head": lambda: lora(
        LlamaConfig(**SIZES), LlamaForCausalLM, target_modules=["lm_head"], lora_dropout=0.5
    ),
    "DoRA on the head": lambda: lora(LlamaConfig(**SIZES), LlamaForCausalLM, target_modules=["lm_head"], use_dora=True),
    "LoRA on the head": lambda: lora(LlamaConfig(**SIZES), LlamaForCausalLM, target_modules=["lm_head", "v_proj"]),
    "head beside LoRA": lambda: lora(
        LlamaConfig(**SIZES), LlamaForCausalLM, target_modules=["v_proj"], modules_to_save=["lm_head"]
    ),
}


def batch(
    seed: int = 0, lengths: tuple[int, ...] = (9, 14, 5), trained: float = 0.7, weighted: bool = False
) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    ids = random.integers(3, 60, sum(lengths)).astype(np.int32)
    labels = np.where(random.random(len(ids)) < trained, ids, IGNORE_INDEX).astype(np.int32)
    ends = np.cumsum([0, *lengths]).astype(np.int32)
    labels[ends[:-1]] = IGNORE_INDEX
    weights = (labels != IGNORE_INDEX) * random.uniform(0.1, 3, len(ids)).astype(np.float32) if weighted else None
    return to_tensors([PackedRow(ids, labels, ends, np.arange(len(lengths)), weights)])


def written_out(model: nn.Module, given: dict[str, Any]) -> Tensor:
    """The definition, in the number format of the model."""
    logits = model(input_ids=given["input_ids"], position_ids=given["position_ids"], use_cache=False).logits[0]
    chosen = logits[given["predict_at"]].log_softmax(-1)
    nll = -chosen.gather(-1, given["targets"][:, None])[:, 0]
    return (nll * given.get("target_weights", torch.ones(len(nll))).to(nll.dtype)).sum()


FROM_LOGITS = {"DoRA on the head"}


def loss_of(model: nn.Module, config: MakeConfig, chunks: int = 4) -> Any:
    cfg = config(chunked_cross_entropy="true", chunked_cross_entropy_num_chunks=str(chunks))
    return summed_loss(model, cfg, forward_call(model, "sdpa"))


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: each.grad for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("kind", MODELS)
def test_loss_and_gradients_are_those_of_the_definition_in_float64(
    kind: str, weighted: bool, config: MakeConfig
) -> None:
    torch.manual_seed(3)
    model = MODELS[kind]().double().eval()
    given = batch(weighted=weighted)
    wanted = written_out(model, given)
    wanted_gradients = gradients(model, wanted)
    in_parts = [loss_of(model, config, chunks) for chunks in (2, 5, 100)]
    default = summed_loss(model, config(), forward_call(model, "sdpa"))
    assert {each.func for each in in_parts} == {chunked_nll if kind in FROM_LOGITS else fused_nll}
    assert default.func == (next_token_nll if kind in FROM_LOGITS else fused_nll)
    for each in (*in_parts, default):
        found = each(model, given)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)
        found_gradients = gradients(model, found)
        assert found_gradients.keys() == wanted_gradients.keys()
        for name, each in found_gradients.items():
            torch.testing.assert_close(each, wanted_gradients[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_the_head_never_sees_more_than_one_part(training: bool, config: MakeConfig) -> None:
    model = MODELS["DoRA on the head"]().train(training)
    loss, given, rows = loss_of(model, config, 4), batch(), []
    model.get_output_embeddings().register_forward_hook(lambda _, args, output: rows.append(output.numel() // 61))
    with torch.set_grad_enabled(training):
        found = loss(model, given)
    if training:
        found.backward()
    trained = len(given["targets"])
    assert max(rows) == -(-trained // 4)
    assert sum(rows) == trained * (2 if training else 1)


@pytest.mark.parametrize("training", [True, False])
def test_the_logits_of_all_tokens_never_exist_at_once(
    training: bool, config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, product, rows = MODELS["tied"]().train(training), torch.mm, []
    loss, given = loss_of(model, config, 4), batch()

    def noted(left: Tensor, right: Tensor, **how: Any) -> Tensor:
        if right.shape == (16, 61):
            rows.append(len(left))
        return product(left, right, **how)

    monkeypatch.setattr(torch, "mm", noted)
    with torch.set_grad_enabled(training):
        found = loss(model, given)
    if training:
        found.backward()
    trained = len(given["targets"])
    assert max(rows) == -(-trained // 4)
    assert sum(rows) == trained  # and not again in the backward pass


def test_a_batch_without_trained_tokens_keeps_every_weight_in_the_graph(config: MakeConfig) -> None:
    model = MODELS["plain"]()
    found = gradients(model, loss := loss_of(model, config)(model, batch(trained=0.0)))
    assert loss.item() == 0
    assert found.keys() == {name for name, _ in model.named_parameters()}
    assert all(not each.any() for each in found.values())


def test_the_number_format_of_autocast_holds_in_the_parts(config: MakeConfig) -> None:
    model, given = MODELS["plain"](), batch()
    loss, call = loss_of(model, config), forward_call(model, "sdpa")
    found: list[Any] = []
    for each in (partial(next_token_nll, call=call), loss):
        with torch.autocast("cpu", torch.bfloat16):
            nll = each(model, given)
        found.append((nll, gradients(model, nll)))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-5, atol=1e-4)
    exact = written_out(model, given)
    assert abs(found[0][0] - exact) > 1e-3, "in bfloat16 the number is another"
    for name, each in found[1][1].items():
        torch.testing.assert_close(each, found[0][1][name], rtol=3e-2, atol=3e-2)


class Shifted(LlamaForCausalLM):
    """Does to its logits what no config says."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        output.logits = output.logits + torch.arange(output.logits.shape[-1])
        return output


def test_a_model_that_changes_its_logits_in_an_unknown_way_is_refused(config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"Shifted does something to its logits[\s\S]*remove `chunked_cross_entropy`"):
        loss_of(model := Shifted(LlamaConfig(**SIZES)), config)
    default = summed_loss(model, config(), forward_call(model, "sdpa"))
    assert default.func is next_token_nll
    torch.testing.assert_close(default(model, batch()), written_out(model, batch()))


def test_a_compiled_model_keeps_its_head(config: MakeConfig) -> None:
    model = MODELS["plain"]()
    assert summed_loss(model, config(), forward_call(model, "sdpa"), compiled=True).func is next_token_nll


def test_an_adapters_dropout_is_drawn_as_in_its_layer(config: MakeConfig) -> None:
    model = MODELS["LoRA with dropout on the head"]().double().train()
    given, found = batch(), []
    for loss in (partial(next_token_nll, call=forward_call(model, "sdpa")), loss_of(model, config, 2)):
        torch.manual_seed(5)
        found.append((nll := loss(model, given), gradients(model, nll)))
    assert found[0][0] != loss_of(model.eval(), config)(model, given), "dropout changes the loss"
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("kind", ["bfloat16 head", "hooked", "merged", "two adapters"])
def test_a_head_that_is_more_than_its_weights_is_left_to_its_layer(kind: str, config: MakeConfig) -> None:
    model: Any = MODELS["LoRA on the head"]()
    layer = model.get_output_embeddings()
    if kind == "bfloat16 head":
        layer.get_base_layer().bfloat16()
    elif kind == "hooked":
        layer.get_base_layer().register_forward_hook(lambda *_: None)
    elif kind == "merged":
        layer.merge()
    else:
        model.add_adapter("second", LoraConfig(r=2, target_modules=["lm_head"]))
        model.base_model.set_adapter(["default", "second"])
    assert parts_of(layer) is None


def test_a_model_without_logits_to_keep_gives_the_same(config: MakeConfig) -> None:
    class Old(nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model, self.config = model, model.config
            self.get_output_embeddings, self.get_input_embeddings = (
                model.get_output_embeddings,
                model.get_input_embeddings,
            )

        def forward(self, input_ids: Any, position_ids: Any, use_cache: bool) -> Any:
            return self.model(input_ids=input_ids, position_ids=position_ids, use_cache=use_cache)

    model = MODELS["plain"]()
    torch.testing.assert_close(loss_of(Old(model), config)(Old(model), batch()), written_out(model, batch()))


CUT = "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"


def test_a_run_has_the_same_losses_under_every_name_of_it(
    config: MakeConfig, trainer: MakeTrainer, data_folder: Path
) -> None:
    rest = {
        "max_steps": "3",
        "gradient_accumulation_steps": "2",
        "save_strategy": "'no'",
        "test_datasets": f"[{{path: {data_folder / 'heldout.jsonl'}}}]",
    }
    found = {}
    for name, on in {
        "plain": {},
        "chunked": {"chunked_cross_entropy": "true", "chunked_cross_entropy_num_chunks": "3"},
        "cut": {"cut_cross_entropy": "true"},
        "plugin": {"plugins": f"[{CUT}]"},
    }.items():
        each = trainer(config(**rest, **on))
        assert each.summed_loss.func is fused_nll
        assert each.summed_loss.keywords["chunks"] == {"plain": None, "chunked": 3}.get(name, 8)
        each.train()
        losses = [line["loss"] for line in each.state.log_history if "loss" in line]
        found[name] = [*losses, each.held_out_loss()]
    for name in ("chunked", "cut", "plugin"):
        assert found[name] == pytest.approx(found["plain"], rel=1e-5)


def test_the_saved_model_is_as_if_nothing_had_been_replaced(model_folder: Path, config: MakeConfig) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    before = copy.deepcopy(model.state_dict())
    loss_of(model, config)(model, batch()).backward()
    assert not model.lm_head._forward_pre_hooks
    assert model.state_dict().keys() == before.keys()
    ids = torch.tensor([[5, 6, 7]])
    assert model(input_ids=ids).logits.shape == (1, 3, model.config.vocab_size)
