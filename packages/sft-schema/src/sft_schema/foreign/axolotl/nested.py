"""axolotl's keys inside mappings, by the mapping they stand in."""

from __future__ import annotations

from sft_schema.foreign import sentences as say
from sft_schema.foreign.answer import Rows, no_effect, refused, renamed, same, table


def _inside(names: str) -> Rows:
    return refused("it belongs to a mapping that is refused as a whole", "remove the whole mapping", names)


_RECOMPUTING = table(
    "axolotl",
    same("use_reentrant"),
    no_effect("random numbers are always the same in the second pass", "preserve_rng_state", accepts=(True,)),
)

_FSDP = (
    same(
        "activation_checkpointing offload_params cpu_offload_pin_memory auto_wrap_policy "
        "transformer_layer_cls_to_wrap min_num_params state_dict_type"
    ),
    same("reshard_after_forward"),
    renamed("cpu_offload", "offload_params"),
    refused("FSDP2 alone is supported", "write `fsdp_version: 2` at the top level", "version", accepts=(2, "2")),
    refused(*say.ONE_MODEL, "final_state_dict_type", accepts=("FULL_STATE_DICT",)),
    refused(*say.FSDP_LOADING, off="cpu_ram_efficient_loading"),
    refused("weights are gathered in the format that is computed in", "write `bf16: auto`", "mixed_precision_policy"),
    refused(say.FSDP_1, "remove it", "sharding_strategy", accepts=("FULL_SHARD",)),
    no_effect(say.FSDP_1, "sync_module_states use_orig_params limit_all_gathers backward_prefetch forward_prefetch"),
    refused("there are no TPUs", "remove it", "xla_fsdp_settings", off="xla xla_fsdp_v2 xla_fsdp_grad_ckpt"),
)


def _with_prefix(*groups: Rows) -> Rows:
    """The same rows for names that begin with `fsdp_`, as accelerate writes them; ours are renamed."""
    rows: Rows = {}
    for name, row in ((name, row) for group in groups for name, row in group.items()):
        rows |= renamed(f"fsdp_{name}", name, row.judge) if row.kind == "same" else {f"fsdp_{name}": row}
    return rows


NESTED: dict[str, Rows] = {
    "special_tokens": table(
        "axolotl",
        same("bos_token eos_token pad_token unk_token"),
        refused(
            *say.VOCABULARY,
            "additional_special_tokens",
        ),
    ),
    "gradient_checkpointing_kwargs": _RECOMPUTING,
    "fsdp_config": table("axolotl", *_FSDP, _with_prefix(*_FSDP)),
    "qat": table(
        "axolotl", _inside("activation_dtype weight_dtype quantize_embedding group_size fake_quant_after_n_steps")
    ),
    "quantization": table("axolotl", _inside("activation_dtype weight_dtype quantize_embedding group_size")),
    "selective_checkpointing": table("axolotl", _inside("save save_sliding_window recompute_layer_types offload")),
    "dynamic_checkpoint": table("axolotl", _inside("enabled check_interval trigger_file_path")),
    "bnb_config_kwargs": table(
        "axolotl",
        same(
            "bnb_4bit_compute_dtype bnb_4bit_quant_type bnb_4bit_use_double_quant bnb_4bit_quant_storage "
            "llm_int8_threshold llm_int8_skip_modules"
        ),
        refused("it belongs to the top level", "remove it here and write `load_in_4bit: true`", "load_in_4bit"),
        refused("it belongs to the top level", "remove it here and write `load_in_8bit: true`", "load_in_8bit"),
        refused(
            "the base model is kept on the training device, in 8 bits alone",
            "remove it",
            off="llm_int8_has_fp16_weight llm_int8_enable_fp32_cpu_offload",
        ),
    ),
    "peft": table("axolotl", _inside("loftq_config")),
    "accelerator_config": table(
        "axolotl",
        _inside(
            "split_batches dispatch_batches even_batches use_seedable_sampler non_blocking use_configured_state "
            "gradient_accumulation_kwargs"
        ),
    ),
}
