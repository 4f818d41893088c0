"""axolotl's keys about output, evaluation, logging, devices and profiling."""

from __future__ import annotations

from sft_schema.foreign import sentences as say
from sft_schema.foreign.answer import no_effect, refused, renamed, same
from sft_schema.foreign.judges import fsdp, switch

SAVING = (
    same("output_dir save_strategy save_steps saves_per_epoch save_total_limit resume_from_checkpoint"),
    renamed("auto_resume_from_checkpoints", "resume_from_checkpoint", switch({"resume_from_checkpoint": True})),
    same("save_only_model save_first_step"),
    refused(*say.SAFETENSORS, "save_safetensors", accepts=(True,)),
    refused(
        "checkpoints are not asked for from outside",
        "write `save_strategy: steps` and `save_steps`",
        "dynamic_checkpoint",
    ),
    same("hub_model_id"),
    refused(*say.PUSHED, "hub_strategy hub_revision"),
    same("load_best_model_at_end metric_for_best_model greater_is_better early_stopping_patience"),
)

EVALUATION = (
    same("eval_strategy eval_steps evals_per_epoch"),
    same("do_causal_lm_eval eval_causal_lm_metrics eval_table_size eval_max_new_tokens"),
    renamed("evaluation_strategy", "eval_strategy"),
    same("lm_eval_tasks"),
    no_effect("the trained model is what is evaluated", "lm_eval_post_train", accepts=(True,)),
    renamed("lm_eval_batch_size", "eval_batch_size"),
    refused(
        "of benchmarks the tasks of lm-eval alone are run, on the result",
        "write `lm_eval_tasks`",
        "bench_dataset bench_split lm_eval_model",
        off="do_bench_eval",
    ),
    refused(
        "texts are not generated during training",
        "write `do_causal_lm_eval: true`: answers to held-out rows before and after training",
        "num_generation_samples generation_max_new_tokens generation_temperature generation_top_p generation_top_k "
        "generation_prompt_ratio generation_do_sample",
        off="generate_samples",
    ),
)


LOGGING = (
    same("logging_steps use_tensorboard"),
    same("use_wandb wandb_project wandb_entity wandb_name wandb_run_id wandb_mode wandb_watch wandb_log_model"),
    same("use_trackio trackio_project_name trackio_run_name trackio_space_id"),
    same("use_mlflow mlflow_tracking_uri mlflow_experiment_name mlflow_run_name hf_mlflow_log_artifacts"),
    same("use_comet comet_workspace comet_project_name comet_experiment_key comet_mode comet_online"),
    refused(*say.SECRET, "comet_api_key"),
    refused(
        "Comet's finer settings are not carried over",
        "remove it and set Comet's own environment variables",
        "comet_experiment_config",
    ),
    refused(
        *say.SWANLAB,
        "swanlab_project swanlab_experiment_name swanlab_description swanlab_mode swanlab_workspace swanlab_api_key "
        "swanlab_log_model swanlab_log_completions swanlab_completion_log_interval swanlab_completion_max_buffer "
        "swanlab_lark_webhook_url swanlab_lark_secret swanlab_run_name swanlab_logdir",
        off="use_swanlab",
    ),
    same("use_otel_metrics"),
    refused(
        "numbers are sent to a collector, and none waits to be asked",
        "give the address in the environment variable OTEL_EXPORTER_OTLP_ENDPOINT",
        "otel_metrics_host otel_metrics_port",
    ),
    no_effect("tokens per second are always logged", "include_tokens_per_second include_tkps", accepts=(True,)),
    same("loss_watchdog_threshold loss_watchdog_patience"),
    same("profiler_steps profiler_steps_start"),
)


DEVICES = (
    same("deepspeed fsdp_config fsdp_version"),
    renamed("fsdp", "fsdp_version", fsdp),
    refused(*say.ONE_MODEL, "fsdp_final_state_dict_type", accepts=("FULL_STATE_DICT",)),
    refused(
        "a model is not sharded over GPUs",
        say.EACH_A_COPY,
        "dp_shard_size dp_replicate_size tensor_parallel_size expert_parallel_size expert_parallel_num_nvl_bytes "
        "expert_parallel_token_capacity",
        accepts=(1,),
    ),
    same("context_parallel_size"),
    renamed("sequence_parallel_degree", "context_parallel_size"),
    no_effect("it is how a ring goes about its work, which changes no number", "heads_k_stride ring_attn_func"),
    refused(*say.TORCHRUN, "ray_run_name ray_num_workers resources_per_worker accelerator_config", off="use_ray"),
    no_effect(say.TORCHRUN_SAYS, "world_size local_rank ddp"),
    same("ddp_timeout ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers"),
)

OWN = (
    no_effect("it is about axolotl itself", "axolotl_config_path is_preprocess debug capabilities env_capabilities"),
    no_effect("keys of the command line are always checked", "strict", accepts=(False,)),
    refused("another trainer class cannot be chosen", "remove it", "trainer_cls"),
    refused(
        "there is no web page for chatting",
        "remove it; `sft train` prints a command that asks the model",
        "gradio_title gradio_share gradio_server_name gradio_server_port gradio_max_new_tokens gradio_temperature",
    ),
    refused(
        "runs are not sent to a cloud service by a file",
        "start `sft train` on the machine itself; this looks like axolotl's --cloud file, not like a config",
        "provider project_name secrets volumes branch gpu gpu_count node_count memory memory_preprocess timeout "
        "timeout_preprocess dockerfile_commands",
    ),
)
