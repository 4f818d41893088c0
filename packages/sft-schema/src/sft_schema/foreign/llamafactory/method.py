"""LLaMA-Factory's keys about the model, the adapter, the optimizer and the loss."""

from __future__ import annotations

from typing import Any

from sft_schema.foreign import sentences as say
from sft_schema.foreign.answer import Answer, Refusal, Rewrite, judged, no_effect, refused, renamed, same
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
    refused(*say.ADAPTER_AGAIN, "adapter_name_or_path adapter_folder", off="create_new_adapter"),
    refused(*say.ONE_RATE, "loraplus_lr_ratio loraplus_lr_embedding"),
    refused(*say.RSLORA, off="use_rslora"),
    refused(*say.DORA, off="use_dora"),
    refused(*say.ADAPTER_START, "pissa_iter", off="pissa_init pissa_convert"),
    refused(
        "some layers alone are trained with an adapter only",
        "write `adapter: lora`",
        "freeze_trainable_layers freeze_trainable_modules freeze_extra_modules",
        off="use_llama_pro",
    ),
    refused("OFT is not implemented", "write `adapter: lora`", "oft_rank oft_block_size oft_target module_dropout"),
    refused(
        "base models in few bits are not available yet",
        "remove it; `adapter: lora` trains the adapter on the model as it is",
        "quantization_method quantization_bit quantization_type double_quantization quantization_device_map",
    ),
    refused(
        "this optimizer is not implemented",
        "remove it; `optimizer: adamw_torch_fused`, or `adafactor` for small states",
        "galore_target galore_rank galore_update_interval galore_scale galore_proj_type apollo_target apollo_rank "
        "apollo_update_interval apollo_scale apollo_proj apollo_proj_type apollo_scale_type badam_mode "
        "badam_start_block badam_switch_mode badam_switch_interval badam_update_ratio badam_mask_mode badam_verbose",
        off="use_galore galore_layerwise use_apollo apollo_layerwise apollo_scale_front use_badam use_adam_mini "
        "use_muon",
    ),
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
        *say.TEXT_ONLY,
        "image_max_pixels image_min_pixels video_max_pixels video_min_pixels video_fps video_maxlen "
        "audio_sampling_rate freeze_vision_tower freeze_multi_modal_projector",
        off="freeze_language_model image_do_pan_and_scan crop_to_patches use_audio_in_video",
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
    refused(*say.KERNELS, off="use_unsloth use_unsloth_gc enable_liger_kernel use_v1_kernels"),
    no_effect(say.REENTRANT, "use_reentrant_gc", accepts=(False,)),
    no_effect("weights are float32 everywhere", "upcast_layernorm upcast_lmhead_output"),
    refused(*say.FLOAT32, "compute_dtype infer_dtype", accepts=("float32",), off="pure_bf16"),
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
