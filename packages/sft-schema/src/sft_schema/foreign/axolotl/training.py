"""axolotl's keys about batches, optimizer, schedule, loss, precision and memory."""

from __future__ import annotations

from sft_schema.foreign import sentences as say
from sft_schema.foreign.answer import no_effect, refused, renamed, same
from sft_schema.foreign.judges import switch

BATCHES = (
    same("micro_batch_size gradient_accumulation_steps eval_batch_size num_epochs max_steps"),
    refused(
        "the rows of an optimizer step are said by their factors",
        "write `micro_batch_size` and `gradient_accumulation_steps`, whose product times the devices it is",
        "batch_size",
    ),
    refused(*say.BATCH_SEARCH, off="auto_find_batch_size"),
)

_SCHEDULES = "write `lr_scheduler: cosine`, which falls to 0, or `linear`, `constant` or `constant_with_warmup`"

OPTIMIZER = (
    same(
        "learning_rate optimizer lr_scheduler warmup_steps warmup_ratio weight_decay max_grad_norm adam_beta1 "
        "adam_beta2 adam_epsilon"
    ),
    refused(*say.ONE_RATE, "embedding_lr embedding_lr_scale lr_groups"),
    refused(
        *say.SCHEDULES, "lr_scheduler_kwargs cosine_min_lr_ratio cosine_constant_lr_ratio", off="lr_quadratic_warmup"
    ),
    no_effect(say.IGNORED, "lr_div_factor eta_min torchdistx_path"),
    refused(
        *say.OPTIMIZER_OF,
        "optim_args optim_target_modules adam_beta3 adam_epsilon2 dion_lr dion_momentum dion_rank_fraction "
        "dion_rank_multiple_of qgalore_rank qgalore_update_proj_gap qgalore_scale qgalore_proj_type qgalore_proj_quant "
        "qgalore_proj_bits qgalore_proj_group_size qgalore_cos_threshold qgalore_gamma_proj qgalore_queue_size",
    ),
)

LOSS = (
    refused(*say.NEFTUNE, "neftune_noise_alpha noisy_embedding_alpha"),
    refused(*say.PLAIN_LOSS, "eaft_alpha eaft_k", off="use_eaft"),
    refused(
        "this form of the loss is not implemented",
        "remove it; the logits are computed for trained tokens alone, which saves memory too",
        "chunked_cross_entropy_num_chunks",
        off="chunked_cross_entropy cut_cross_entropy unsloth_cross_entropy_loss",
    ),
)

PRECISION = (
    same("bf16 gradient_checkpointing"),
    no_effect(say.RECOMPUTED, "gradient_checkpointing_kwargs"),
    renamed("bfloat16", "bf16", switch({"bf16": True})),
    refused(*say.FLOAT16, off="fp16 float16"),
    renamed("float32", "bf16", switch({"bf16": False})),
    refused(*say.TF32, "tf32", accepts=(False,)),
    refused(*say.FLOAT8, off="fp8 fp8_enable_fsdp_float8_all_gather"),
    refused("weights are float32 everywhere", "remove it", "fp32_norm_classes", off="fp32_norms"),
    refused(
        "what is recomputed in the backward pass cannot be chosen",
        "write `gradient_checkpointing: true`, which recomputes each layer",
        "selective_checkpointing",
    ),
    refused(*say.OFFLOADED, off="activation_offloading"),
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
    no_effect(say.MEMORY, "gc_steps gc_collect_steps torch_empty_cache_steps"),
    refused(
        *say.COMPILED, "torch_compile_backend torch_compile_mode torch_compile_options", off="torch_compile deepcompile"
    ),
)
