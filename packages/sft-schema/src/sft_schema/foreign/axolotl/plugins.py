"""axolotl's keys of kernels and plugins."""

from __future__ import annotations

from sft_schema.foreign import sentences as say
from sft_schema.foreign.answer import no_effect, refused, same

_PLAIN = "remove it: the model's own layers are used, which gives the same numbers"

PLUGINS = (
    same("plugins"),
    refused(
        *say.KERNELS,
        off="liger_rms_norm_gated liger_cross_entropy liger_fused_linear_cross_entropy liger_use_token_scaling "
        "lora_mlp_kernel lora_qkv_kernel lora_o_kernel lora_embedding_kernel unsloth_lora_mlp unsloth_lora_qkv "
        "unsloth_lora_o unsloth_rms_norm unsloth_rope use_kernels use_scattermoe use_sonicmoe use_dsv4_kernels "
        "use_glm_dsa_kernels",
    ),
    no_effect(say.FUSED, "liger_rope liger_rms_norm liger_layer_norm liger_glu_activation liger_swiglu"),
    refused(*say.KERNELS, "dsv4_fp4_grouped_mode"),
    refused(
        "distillation from a teacher model is not implemented",
        "remove it; train on the teacher's answers as rows of `messages`",
        "kd_trainer kd_alpha kd_ce_alpha kd_temperature kd_online_server kd_online_server_base_url kd_online_topk",
    ),
    refused(
        "this way to choose or filter what is trained is not implemented",
        "remove it; `adapter: lora` trains few weights",
        "spectrum_top_fraction spectrum_model_name grokfast_alpha grokfast_lamb",
    ),
    refused("diffusion language models are not trained here", "choose a causal language model", "diffusion"),
)
