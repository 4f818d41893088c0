"""axolotl's keys about the model, its tokenizer and its attention."""

from __future__ import annotations

from typing import Any

from sft_schema.foreign import sentences as say
from sft_schema.foreign.answer import Answer, Refusal, Rewrite, judged, no_effect, refused, renamed, same
from sft_schema.foreign.judges import switch

_NOT_TEXT = Refusal(
    "only causal language models of text are trained here", "choose the text model of the same family and remove it"
)


def _model_class(value: Any) -> Answer:
    causal = isinstance(value, str) and value.endswith(("ForCausalLM", "LMHeadModel"))
    return Rewrite({}, "the class follows from the model's config.json") if causal else _NOT_TEXT


_KERNELS = "write `attn_implementation: flash_attention_2`, `flex_attention` or `sdpa`"

MODEL = (
    same("base_model revision_of_model tokenizer_config trust_remote_code reinit_weights special_tokens"),
    renamed("model_revision", "revision_of_model"),
    judged("model_type", _model_class, accepts=("AutoModelForCausalLM",)),
    judged("type_of_model", _model_class, accepts=("AutoModelForCausalLM",)),
    refused(
        *say.MODEL_CONFIG,
        "model_config overrides_of_model_config model_kwargs overrides_of_model_kwargs base_model_config "
        "cls_model_config rope_scaling torch_dtype",
        off="llama4_linearized_experts",
    ),
    no_effect(
        "axolotl works this out by itself",
        "is_llama_derived_model is_mistral_derived_model is_falcon_derived_model is_qwen_derived_model",
    ),
    no_effect(say.IGNORED, "base_model_ignore_patterns full_finetune test_value"),
    refused(*say.ONE_DEVICE, "device_map max_memory gpu_memory_limit device", off="experimental_skip_move_to_device"),
    no_effect(say.LOW_MEMORY, "low_cpu_mem_usage"),
    refused(
        "the experts' own implementation is used",
        "remove it",
        "experts_implementation",
        accepts=("eager",),
        off="quantize_moe_experts",
    ),
    refused(
        "classification heads are not supervised fine-tuning of a language model",
        "remove it, or use another tool for classifiers",
        "num_labels",
    ),
    refused(
        "quantised base models are not available yet",
        "remove it and choose a base model in bfloat16 or float32",
        "model_quantization_config model_quantization_config_kwargs",
        off="use_onebitllms gptq",
    ),
    same("unfrozen_parameters"),
)

TOKENIZER = (
    no_effect(
        "the tokenizer is read from its tokenizer.json, whatever its class",
        "tokenizer_type tokenizer_use_fast tokenizer_legacy",
        accepts=("AutoTokenizer",),
    ),
    refused(
        "the tokenizer is read from tokenizer.json alone",
        "remove it, or set `tokenizer_config` to a repository with a tokenizer.json",
        off="tokenizer_use_mistral_common",
    ),
    no_effect("the template is always saved as chat_template.jinja", "tokenizer_save_jinja_files"),
    same("tokens"),
    refused(
        *say.VOCABULARY,
        "added_tokens_overrides fix_untrained_tokens",
        off="resize_token_embeddings_to_32x shrink_embeddings mean_resizing_embeddings embeddings_skip_upcast",
    ),
    refused(*say.SYSTEM_MESSAGE, "default_system_message"),
    same("chat_template chat_template_jinja chat_template_kwargs eot_tokens"),
    same("processor_type"),
    refused(*say.SIZE_OF_PICTURES, "processor_kwargs image_size image_resize_algorithm"),
    refused("turns are found by the chat template itself", "remove it", "role_boundaries"),
    refused(*say.PART_OF_VISION_MODEL, off="freeze_mm_modules"),
)

ATTENTION = (
    same("attn_implementation"),
    renamed("flash_attention", "attn_implementation", switch({"attn_implementation": "flash_attention_2"})),
    renamed("flex_attention", "attn_implementation", switch({"attn_implementation": "flex_attention"})),
    renamed("sdp_attention", "attn_implementation", switch({"attn_implementation": "sdpa"})),
    renamed("eager_attention", "attn_implementation", switch({"attn_implementation": "eager"})),
    refused(
        "this attention backend is not implemented", _KERNELS, off="xformers_attention sage_attention s2_attention"
    ),
    refused(
        "it is worked out from `attn_implementation`",
        "remove it",
        "attn_supports_packing attn_uses_flash_lib attn_needs_dtype_cast attn_decontaminates_packing",
    ),
    refused(
        "this variant of attention is not implemented",
        f"remove it; {_KERNELS}",
        "large_head_attention flex_attn_compile_kwargs scaling_softmax_factor scaling_softmax_bias",
        off="sdpa_varlen gemma4_hybrid_attn_impl fused_attn_kernel flash_attn_cross_entropy flash_attn_fuse_mlp "
        "flash_attn_rms_norm flash_attn_d512 flash_optimum scaling_softmax flash_attn_cross_entropy_loss",
    ),
)
