"""Models of transformers with this project's ops in their layers compute what they computed before."""

import copy
from typing import get_args

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from sft_kernels import replace
from sft_schema.config.memory import FusedKernel

SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
MODELS = {  # config class, its own settings, modules replaced by each op
    "LlamaConfig": ({}, {"rope": 2, "rms_norm": 5, "glu": 2}),
    "MistralConfig": ({"sliding_window": 8}, {"rope": 2, "rms_norm": 5, "glu": 2}),
    "Qwen2Config": ({}, {"rope": 2, "rms_norm": 5, "glu": 2}),
    "Qwen3Config": ({}, {"qk_norm_rope": 2, "rms_norm": 5, "glu": 2}),
    "Gemma2Config": ({"sliding_window": 8}, {"rope": 2, "rms_norm": 9, "glu": 2}),
    "Gemma3TextConfig": ({"sliding_window": 8}, {"qk_norm_rope": 2, "rms_norm": 9, "glu": 2}),
    "Phi3Config": ({"partial_rotary_factor": 0.5}, {"rope": 2, "rms_norm": 5, "glu": 2}),
    "GptOssConfig": ({"num_local_experts": 4, "sliding_window": 8}, {"rope": 2, "rms_norm": 5, "glu": 2}),
    "MixtralConfig": ({"num_local_experts": 4}, {"rope": 2, "rms_norm": 5, "glu": 2}),
    "Qwen2MoeConfig": ({**MOE, "shared_expert_intermediate_size": 24}, {"rope": 2, "rms_norm": 5, "glu": 4}),
    "Qwen3MoeConfig": (MOE, {"qk_norm_rope": 2, "rms_norm": 5, "glu": 2}),
}


def model_of(name: str, **others: object) -> nn.Module:
    transformers.set_seed(0)
    config = getattr(transformers, name)(**SMALL, **MODELS[name][0])
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", **others)
    with torch.no_grad():  # norms that are not all ones, or a way to round could not be told from another
        for module in model.modules():
            if "Norm" in type(module).__name__:
                module.weight.add_(torch.randn_like(module.weight) * 0.3)
    return model


def outcome(model: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits of a packed row, and gradients of all weights that have one."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 64, (1, 17), generator=generator)
    positions = torch.cat((torch.arange(9), torch.arange(8)))[None]
    device = next(model.parameters()).device
    ids, positions = ids.to(device), positions.to(device)
    model.zero_grad()
    logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits
    torch.nn.functional.cross_entropy(logits[0, :-1].float(), ids[0, 1:]).backward()
    return logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def far(one: tuple[Tensor, dict[str, Tensor]], other: tuple[Tensor, dict[str, Tensor]]) -> float:
    """The largest distance of logits or of a gradient, as a part of its largest value."""
    assert one[1].keys() == other[1].keys()
    pairs = [(one[0], other[0]), *((one[1][name], other[1][name]) for name in one[1])]
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-3)) for a, b in pairs)


@pytest.mark.parametrize("name", MODELS)
def test_logits_and_gradients_are_those_of_the_model_itself(name: str) -> None:
    model = model_of(name)
    before = outcome(model)
    done = replace.apply(model)
    assert done.replaced == MODELS[name][1], done.left
    assert far(outcome(model), before) < 1e-4
    done.undo()
    after = outcome(model)
    assert torch.equal(after[0], before[0])
    assert all(torch.equal(after[1][key], before[1][key]) for key in before[1])
    assert not any("forward" in module.__dict__ or "_apply_gate" in module.__dict__ for module in model.modules())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, for the kernels")
@pytest.mark.parametrize("name", MODELS)
def test_with_kernels_on_a_gpu_they_are_too(name: str) -> None:
    model = model_of(name).cuda()
    before = outcome(model)
    done = replace.apply(model, device="cuda")
    assert done.replaced == MODELS[name][1], done.left
    assert far(outcome(model), before) < 1e-3


@pytest.mark.parametrize("name", ["LlamaConfig", "Qwen3Config", "Gemma2Config"])
def test_in_bfloat16_it_is_as_near_to_float32_as_the_model_itself(name: str) -> None:
    exact = outcome(model_of(name))
    low = model_of(name).bfloat16()
    plain = far(outcome(low), exact)
    replace.apply(low)
    assert far(outcome(low), exact) <= 2 * plain


@pytest.mark.parametrize("name", ["Qwen3Config", "Phi3Config"])
def test_adapters_checkpointing_and_autocast(name: str) -> None:
    linear = ["q_proj", "v_proj", "gate_proj", "down_proj", "qkv_proj", "gate_up_proj"]
    base = model_of(name)
    names = {path.rpartition(".")[2] for path, _ in base.named_modules()}
    lora = LoraConfig(r=2, target_modules=[each for each in linear if each in names], init_lora_weights=False)
    model = get_peft_model(base, lora).train()
    model.get_base_model().gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
    before = outcome(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = far(outcome(model), before)
    done = replace.apply(model)
    assert done.replaced == MODELS[name][1], done.left
    assert far(outcome(model), before) < 1e-4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert far(outcome(model), before) <= 2 * low


def test_a_copy_has_weights_of_its_own() -> None:
    model = model_of("Qwen3Config")
    replace.apply(model)
    twin = copy.deepcopy(model)
    before = outcome(twin)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(outcome(twin)[0], before[0])


@pytest.mark.parametrize("name", ["LlamaConfig", "Gemma3TextConfig"])
def test_it_compiles_as_one_graph(name: str) -> None:
    model = model_of(name)
    replace.apply(model)
    expected = outcome(model)
    layer = model.model.layers[0]  # type: ignore[union-attr]
    layer.compile(backend="aot_eager", fullgraph=True)
    assert far(outcome(model), expected) < 1e-5


def test_chosen_ops_alone() -> None:
    model = model_of("Qwen3Config")
    before = outcome(model)
    assert replace.apply(model, {"rope", "rms_norm"}).replaced == {"rope": 2, "rms_norm": 9}
    assert far(outcome(model), before) < 1e-4


def test_what_is_asked_for_and_not_there_is_refused() -> None:
    model = model_of("LlamaConfig")
    with pytest.raises(ValueError, match="nothing in this model can be replaced by layer_norm: no module has it"):
        replace.apply(model, ["rms_norm", "layer_norm"])
    assert not any("forward" in module.__dict__ for module in model.modules())
    with pytest.raises(ValueError, match="there is no op 'swiglu'; choose from qk_norm_rope, rope"):
        replace.apply(model, ["swiglu"])


def test_the_setting_names_all_ops() -> None:
    assert set(get_args(FusedKernel)) == set(replace.OPS)
