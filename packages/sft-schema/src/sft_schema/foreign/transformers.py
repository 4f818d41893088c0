"""Keys of transformers' training arguments, which TRL and LLaMA-Factory share.

Source: `TrainingArguments` of transformers 4.40 to 5.23.
"""

from __future__ import annotations

from typing import Any, cast

from sft_schema.foreign import sentences as say
from sft_schema.foreign.answer import Answer, Refusal, Rewrite, no_effect, refused, renamed, same, table
from sft_schema.foreign.judges import fsdp

_SERVICES = {
    "tensorboard": "use_tensorboard",
    "wandb": "use_wandb",
    "trackio": "use_trackio",
    "mlflow": "use_mlflow",
    "comet_ml": "use_comet",
}


def _report_to(value: Any) -> Answer:
    wanted = cast("list[Any]", value) if isinstance(value, list) else [value]
    if wanted in (["none"], []):
        return Rewrite({}, "metrics.jsonl is always written")
    known = {switch: True for name, switch in _SERVICES.items() if name in wanted}
    if len(known) == len(wanted):
        return Rewrite(known)
    names = ", ".join(_SERVICES)
    return Refusal(f"of the services that show runs, these are connected: {names}", say.FILES, known)


TRANSFORMERS = table(
    "transformers",
    same(
        "output_dir max_steps learning_rate warmup_steps warmup_ratio weight_decay adam_beta1 adam_beta2 adam_epsilon "
        "gradient_accumulation_steps max_grad_norm bf16 gradient_checkpointing logging_steps eval_strategy eval_steps "
        "save_strategy save_steps save_total_limit save_only_model seed resume_from_checkpoint load_best_model_at_end "
        "metric_for_best_model greater_is_better"
    ),
    renamed("per_device_train_batch_size", "micro_batch_size"),
    renamed("per_device_eval_batch_size", "eval_batch_size"),
    renamed("num_train_epochs", "num_epochs"),
    renamed("lr_scheduler_type", "lr_scheduler"),
    renamed("optim", "optimizer"),
    renamed("evaluation_strategy", "eval_strategy"),
    renamed("activation_checkpointing", "gradient_checkpointing"),
    renamed("report_to", " ".join(_SERVICES.values()), _report_to, accepts=("none", [])),
    same("gradient_checkpointing_kwargs"),
    renamed("activation_checkpointing_kwargs", "gradient_checkpointing_kwargs"),
    same("lr_scheduler_kwargs optim_args"),
    refused(*say.OPTIMIZER_OF, "optim_target_modules"),
    refused("labels are not smoothed", "remove it", "label_smoothing_factor", accepts=(0, 0.0)),
    same("neftune_noise_alpha fp16 tf32 torch_compile torch_compile_backend torch_compile_mode"),
    same("torch_empty_cache_steps"),
    no_effect(
        "the loss is the mean over all trained tokens of all devices in any case",
        "average_tokens_across_devices",
        accepts=(True,),
    ),
    refused("evaluation computes as training does", "remove it", off="bf16_full_eval fp16_full_eval"),
    no_effect(say.FUSED, "use_liger_kernel"),
    refused(*say.KERNELS, "liger_kernel_config"),
    no_effect("training keeps no cache of keys and values", "use_cache", accepts=(False,)),
    refused(*say.BATCH_SEARCH, off="auto_find_batch_size"),
    refused("log lines come every `logging_steps` steps", "remove it", "logging_strategy", accepts=("steps",)),
    no_effect("the first step is always logged", "logging_first_step", accepts=(True,)),
    no_effect("a loss that is not a number is never hidden", "logging_nan_inf_filter", accepts=(False,)),
    no_effect(
        "it is about how transformers talks, and the run has lines of its own",
        "log_level log_level_replica log_on_each_node disable_tqdm run_name logging_dir project skip_memory_metrics",
    ),
    no_effect("tokens are always counted", "include_num_input_tokens_seen include_tokens_per_second"),
    same("trackio_space_id"),
    refused(
        "Trackio's buckets and static Spaces are not used", "remove it", "trackio_bucket_id trackio_static_space_id"
    ),
    no_effect("held-out rows are evaluated before and after training in any case", "eval_on_start", accepts=(True,)),
    no_effect("`sft train` trains, and evaluates when there are held-out rows", "do_train do_eval", accepts=(True,)),
    refused("evaluation begins with the first step", "remove it", "eval_delay", accepts=(0,)),
    refused(
        *say.EVALUATED,
        "include_for_metrics eval_accumulation_steps label_names",
        off="do_predict batch_eval_metrics include_inputs_for_metrics predict_with_generate",
    ),
    no_effect(
        "evaluation adds up one loss, so there is nothing to gather",
        "prediction_loss_only eval_do_concat_batches eval_use_gather_object",
    ),
    refused(*say.SAFETENSORS, "save_safetensors", accepts=(True,)),
    refused("the first process alone saves", "remove it", off="save_on_each_node enable_jit_checkpoint"),
    same("hub_model_id hub_private_repo"),
    refused(
        *say.PUSHED,
        "hub_token push_to_hub_token push_to_hub_model_id hub_strategy hub_revision",
        off="push_to_hub hub_always_push",
    ),
    no_effect("checkpoints of an earlier run are never overwritten: the run stops instead", "overwrite_output_dir"),
    refused(
        "a resumed run goes on exactly where it was",
        "remove it",
        off="ignore_data_skip restore_callback_states_from_checkpoint",
    ),
    refused("`seed` decides every random choice", "remove it and write `seed`", "data_seed", off="full_determinism"),
    refused(
        "the device follows from what the machine has",
        "remove it; an empty CUDA_VISIBLE_DEVICES hides the GPUs",
        off="use_cpu no_cuda use_mps_device",
    ),
    same("dataloader_num_workers dataloader_pin_memory dataloader_prefetch_factor"),
    no_effect(
        "batches come in one order, from workers that live for an epoch",
        "dataloader_persistent_workers dataloader_multiprocessing_context dataloader_in_order",
    ),
    refused(*say.LAST_ROWS, off="dataloader_drop_last"),
    no_effect(say.COLUMNS, "remove_unused_columns"),
    refused(*say.GROUPED, "length_column_name train_sampling_strategy", accepts=("random",), off="group_by_length"),
    same("deepspeed fsdp_config"),
    renamed("fsdp", "fsdp_version", fsdp),
    renamed(
        "fsdp_transformer_layer_cls_to_wrap",
        "fsdp_config",
        lambda value: Rewrite({"fsdp_config": {"transformer_layer_cls_to_wrap": value}}),
    ),
    refused(*say.TORCHRUN, "accelerator_config parallelism_config"),
    no_effect(say.TORCHRUN_SAYS, "local_rank ddp_backend"),
    same("ddp_timeout ddp_bucket_cap_mb ddp_broadcast_buffers ddp_find_unused_parameters"),
    refused("the graph of a step is never taken as fixed", "remove it", off="ddp_static_graph"),
    refused("runs are not watched for overflow", "remove it", "debug", accepts=("", [])),
)
