"""An MLP in slices gives the same numbers and gradients, and keeps less."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2MoeConfig, Qwen2MoeForCausalLM

from sft_schema import ConfigError, SftConfig
from sft_train.model import tile_mlps
from sft_train.run import run

MakeConfig = Callable[..., SftConfig]
SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
TILED = {"tiled_mlp": "true", "tiled_mlp_num_shards": "5"}


def llama() -> LlamaForCausalLM:
    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig(intermediate_size=512, **SIZES))


def mixture() -> Qwen2MoeForCausalLM:
    torch.manual_seed(1)
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    shared = {"shared_expert_intermediate_size": 8, "intermediate_size": 8, "decoder_sparse_step": 1}
    return Qwen2MoeForCausalLM(Qwen2MoeConfig(**SIZES, **experts, **shared))


def loss_and_bytes(model: LlamaForCausalLM, ids: torch.Tensor) -> tuple[float, int]:
    """The loss, its gradients left in the model, and the bytes of what was kept for the backward pass."""
    kept = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    return loss.item(), kept


@pytest.mark.parametrize("build", [llama, mixture])
def test_slices_give_the_same_loss_and_gradients(config: MakeConfig, build: Callable[[], LlamaForCausalLM]) -> None:
    model = build()
    tiled = copy.deepcopy(model)
    assert tile_mlps(tiled, config(**TILED)) == 2
    ids = torch.arange(33)[None] % 50
    (plain, kept), (sliced, less) = (loss_and_bytes(each, ids) for each in (model, tiled))
    assert sliced == pytest.approx(plain, rel=1e-6)
    for (name, one), two in zip(model.named_parameters(), tiled.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, msg=name, rtol=1e-4, atol=1e-6)
    assert build is mixture or less < kept / 4
    assert tiled.state_dict().keys() == model.state_dict().keys()


def test_a_run_goes_the_same_way(config: MakeConfig, tmp_path: object) -> None:
    plain = run(config(max_steps="3", output_dir=f"{tmp_path}/plain"))
    tiled = run(config(max_steps="3", output_dir=f"{tmp_path}/tiled", **TILED))
    assert tiled.train_loss_last == pytest.approx(plain.train_loss_last, rel=1e-5)


def test_a_model_without_such_mlps_is_refused(config: MakeConfig) -> None:
    model = llama()
    for layer in model.model.layers:
        layer.mlp.register_forward_hook(lambda module, inputs, output: output.flip(1))
    with pytest.raises(ConfigError, match="has no MLP that gives each token the same"):
        tile_mlps(model, config(tiled_mlp="true"))
    assert tile_mlps(model, config()) == 0
