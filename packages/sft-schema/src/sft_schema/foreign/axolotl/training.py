"""axolotl's keys about batches, optimizer, schedule, loss, precision and memory."""

from __future__ import annotations

from typing import Any

from sft_schema.foreign import sentences as say
from sft_schema.foreign.answer import Answer, Rewrite, no_effect, refused, renamed, same
from sft_schema.foreign.judges import switch


def _gc_steps(value: Any) -> Answer:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return Rewrite({"torch_empty_cache_steps": value, "gc_collect_steps": value})
    return Rewrite({}, "it asks for nothing")


BATCHES = (
    same("micro_batch_size gradient_accumulation_steps batch_size eval_batch_size num_epochs max_steps"),
    refused(*say.BATCH_SEARCH, off="auto_find_batch_size"),
)

OPTIMIZER = (
    same(
        "learning_rate optimizer lr_scheduler warmup_steps warmup_ratio weight_decay max_grad_norm adam_beta1 "
        "adam_beta2 adam_epsilon optim_args embedding_lr embedding_lr_scale lr_groups lr_scheduler_kwargs "
        "cosine_min_lr_ratio cosine_constant_lr_ratio lr_quadratic_warmup loraplus_lr_ratio loraplus_lr_embedding "
        "jagged_restart_steps jagged_restart_warmup_steps jagged_restart_anneal_steps"
    ),
    no_effect(say.IGNORED, "lr_div_factor eta_min torchdistx_path"),
    refused(
        *say.OPTIMIZER_OF,
        "optim_target_modules adam_beta3 adam_epsilon2 dion_lr dion_momentum dion_rank_fraction "
        "dion_rank_multiple_of qgalore_rank qgalore_update_proj_gap qgalore_scale qgalore_proj_type qgalore_proj_quant "
        "qgalore_proj_bits qgalore_proj_group_size qgalore_cos_threshold qgalore_gamma_proj qgalore_queue_size",
    ),
)

LOSS = (
    same("neftune_noise_alpha chunked_cross_entropy chunked_cross_entropy_num_chunks cut_cross_entropy"),
    renamed("noisy_embedding_alpha", "neftune_noise_alpha"),
    refused(*say.PLAIN_LOSS, "eaft_alpha eaft_k", off="use_eaft"),
    refused(
        "this form of the loss is not implemented",
        "write `chunked_cross_entropy: true`, which needs as little memory",
        off="unsloth_cross_entropy_loss",
    ),
)

PRECISION = (
    same("bf16 fp16 tf32 gradient_checkpointing gradient_checkpointing_kwargs activation_offloading"),
    same("torch_compile torch_compile_backend torch_compile_mode torch_empty_cache_steps gc_collect_steps"),
    renamed("bfloat16", "bf16", switch({"bf16": True, "dtype": "bfloat16"})),
    renamed("float16", "fp16", switch({"fp16": True})),
    renamed("float32", "bf16", switch({"bf16": False})),
    refused(*say.FLOAT8, off="fp8 fp8_enable_fsdp_float8_all_gather"),
    refused("weights are float32 everywhere", "remove it", "fp32_norm_classes", off="fp32_norms"),
    refused(
        "what is recomputed in the backward pass cannot be chosen",
        "write `gradient_checkpointing: true`, which recomputes each layer",
        "selective_checkpointing",
    ),
    refused(
        "layers and weights stay on the training device",
        "write `gradient_checkpointing: true` or `adapter: lora` when memory runs out",
        off="layer_offloading",
    ),
    refused(
        "the MLP is not computed in tiles",
        "write `gradient_checkpointing: true` when memory runs out",
        "tiled_mlp_num_shards tiled_mlp_use_original_mlp",
        off="tiled_mlp",
    ),
    renamed("gc_steps", "torch_empty_cache_steps gc_collect_steps", _gc_steps),
    refused(
        "the compiler's own options are not handed on",
        "remove it; `torch_compile_mode: max-autotune` asks for the fastest code",
        "torch_compile_options",
    ),
    refused("DeepSpeed does not compile models here", "write `torch_compile: true`", off="deepcompile"),
)
