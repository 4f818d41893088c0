"""LLaMA-Factory's keys about the model, the adapter, the optimizer and the loss."""

from __future__ import annotations

from typing import Any

from sft_schema.foreign import sentences as say
from sft_schema.foreign.answer import (
    Answer,
    Judge,
    Refusal,
    Rewrite,
    is_one_of,
    judged,
    no_effect,
    refused,
    renamed,
    same,
)
from sft_schema.foreign.judges import choice, listed, switch

_STAGE = choice(
    {
        "pt": Refusal(
            "training on plain texts is a format of the data here", "remove it, and write `type: completion`"
        ),
    },
    Refusal(*say.NOT_SFT),
)


_KIND = choice(
    {
        "lora": Rewrite({"adapter": "lora"}),
        "full": Rewrite({}, "without `adapter` all weights are trained"),
        "freeze": Refusal(
            "some layers alone are trained with an adapter only", "write `adapter: lora`", {"adapter": "lora"}
        ),
        "oft": Refusal("OFT is not implemented", "write `adapter: lora`", {"adapter": "lora"}),
    },
    Refusal("there is no such way to fine-tune", "write `adapter: lora`, or nothing for all weights"),
)


_ATTENTION = choice(
    {
        "auto": Rewrite({}, "sdpa is used when nothing is said"),
        "disabled": Rewrite({"attn_implementation": "eager"}),
        "sdpa": Rewrite({"attn_implementation": "sdpa"}),
        "fa2": Rewrite({"attn_implementation": "flash_attention_2"}),
        "fa3": Rewrite({"attn_implementation": "flash_attention_3"}),
    },
    Refusal("there is no such attention backend", "write `attn_implementation: sdpa`, or `flash_attention_2`"),
)


def _bits(value: Any) -> Answer:
    if is_one_of(value, (4, 8)):
        return Rewrite({f"load_in_{value}bit": True})
    return Refusal(*say.QUANTISED_OTHERWISE)


def _of_bits(key: str) -> Judge:
    return lambda value: Rewrite({"bnb_config_kwargs": {key: value}})


def _targets(value: Any) -> Answer:
    return Rewrite({"lora_target_linear": True}) if value == "all" else listed("lora_target_modules")(value)


METHOD = (
    renamed("model_name_or_path", "base_model"),
    renamed("model_revision", "revision_of_model"),
    same("trust_remote_code lora_alpha lora_dropout"),
    judged("stage", _STAGE, accepts=("sft",)),
    renamed("finetuning_type", "adapter", _KIND),
    renamed("lora_rank", "lora_r"),
    renamed("lora_target", "lora_target_modules lora_target_linear", _targets),
    renamed("additional_target", "lora_modules_to_save", listed("lora_modules_to_save")),
    renamed("train_from_scratch", "reinit_weights"),
    renamed("flash_attn", "attn_implementation", _ATTENTION),
    renamed(
        "disable_gradient_checkpointing",
        "gradient_checkpointing",
        switch({"gradient_checkpointing": False}, {"gradient_checkpointing": True}),
    ),
    renamed("adapter_name_or_path", "lora_model_dir"),
    refused(
        "an adapter is trained further, or a new one begun, not both",
        "remove it, or merge the adapter into its model first",
        "adapter_folder",
        off="create_new_adapter",
    ),
    same("loraplus_lr_ratio loraplus_lr_embedding"),
    renamed("use_rslora", "peft_use_rslora"),
    renamed("use_dora", "peft_use_dora"),
    renamed("pissa_init", "peft_init_lora_weights", switch({"peft_init_lora_weights": "pissa"}, why="it is off")),
    refused("PiSSA takes exact singular values", "remove it", "pissa_iter", accepts=(-1,)),
    refused("an adapter is saved as it was trained", "remove it", off="pissa_convert"),
    refused(
        "some layers alone are trained with an adapter only",
        "write `adapter: lora`",
        "freeze_trainable_layers freeze_trainable_modules freeze_extra_modules",
        off="use_llama_pro",
    ),
    refused("OFT is not implemented", "write `adapter: lora`", "oft_rank oft_block_size oft_target module_dropout"),
    renamed("quantization_bit", "load_in_4bit load_in_8bit", _bits),
    refused(*say.QUANTISED_OTHERWISE, "quantization_method", accepts=("bnb", "bitsandbytes")),
    renamed("quantization_type", "bnb_config_kwargs", _of_bits("bnb_4bit_quant_type")),
    renamed("double_quantization", "bnb_config_kwargs", _of_bits("bnb_4bit_use_double_quant")),
    refused(*say.ONE_DEVICE, "quantization_device_map"),
    refused(
        "this optimizer is not implemented",
        "remove it; `optimizer: adamw_torch_fused`, or `adafactor` for small states",
        "galore_target galore_rank galore_update_interval galore_scale galore_proj_type apollo_target apollo_rank "
        "apollo_update_interval apollo_scale apollo_proj apollo_proj_type apollo_scale_type badam_mode "
        "badam_start_block badam_switch_mode badam_switch_interval badam_update_ratio badam_mask_mode badam_verbose",
        off="use_galore galore_layerwise use_apollo apollo_layerwise apollo_scale_front use_badam use_adam_mini",
    ),
    renamed("use_muon", "optimizer", switch({"optimizer": "muon"})),
    refused(*say.PLAIN_LOSS, "asft_alpha eaft_alpha", off="use_dft_loss use_asft_loss use_eaft_loss"),
    refused(
        *say.NOT_SFT,
        "pref_beta pref_ftx pref_bco_weight pref_loss dpo_label_smoothing kto_chosen_weight kto_rejected_weight "
        "simpo_gamma ppo_buffer_size ppo_epochs ppo_target ref_model ref_model_adapters "
        "ref_model_quantization_bit reward_model reward_model_adapters reward_model_quantization_bit "
        "reward_model_type ld_alpha",
        off="ppo_score_norm ppo_whiten_rewards",
    ),
)


MODEL = (
    refused(
        *say.SIZE_OF_PICTURES,
        "image_max_pixels image_min_pixels",
        off="image_do_pan_and_scan crop_to_patches",
    ),
    refused(
        *say.SOUND_AND_FILMS,
        "video_max_pixels video_min_pixels video_fps video_maxlen audio_sampling_rate",
        off="use_audio_in_video",
    ),
    refused(
        *say.PART_OF_VISION_MODEL,
        "freeze_vision_tower freeze_multi_modal_projector",
        off="freeze_language_model",
    ),
    refused(
        *say.VOCABULARY,
        "add_tokens add_special_tokens new_special_tokens_config init_special_tokens",
        off="resize_vocab",
    ),
    refused(
        "special tokens in a message are set aside, not split",
        "remove it; see `special_tokens_in_content`",
        off="split_special_tokens",
    ),
    refused(
        "positions are not stretched",
        "remove it, or change config.json in a local copy of the model",
        "rope_scaling model_max_length",
    ),
    refused(
        "this variant of attention or of the layers is not implemented",
        "remove it",
        "mixture_of_depths",
        off="shift_attn",
    ),
    no_effect(say.FUSED, "enable_liger_kernel"),
    refused(*say.KERNELS, off="use_unsloth use_unsloth_gc use_v1_kernels"),
    renamed(
        "use_reentrant_gc",
        "gradient_checkpointing_kwargs",
        lambda value: Rewrite({"gradient_checkpointing_kwargs": {"use_reentrant": value}}),
    ),
    no_effect("norms and the loss are computed in float32 anyway", "upcast_layernorm upcast_lmhead_output"),
    renamed("pure_bf16", "dtype", switch({"bf16": True, "dtype": "bfloat16"})),
    refused(*say.FLOAT32, "compute_dtype infer_dtype", accepts=("float32",)),
    refused(*say.BALANCING, "moe_aux_loss_coef"),
    no_effect("the tokenizer is read from its tokenizer.json", "use_fast_tokenizer", accepts=(True,)),
    no_effect(say.LOW_MEMORY, "low_cpu_mem_usage"),
    refused(
        "the hub's own settings and login are used",
        "remove it; set HF_HOME or log in with the hub's own command",
        "cache_dir hf_hub_token",
    ),
    refused(
        "models come from local folders and the Hugging Face hub",
        "download it, and give the folder as `base_model`",
        "ms_hub_token om_hub_token",
    ),
    refused(*say.ONE_DEVICE, "device_map offload_folder"),
)
