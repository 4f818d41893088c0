"""Every rule fires on the combination it is for, and on nothing else."""

import json

import pytest

from sft_schema import BACKENDS, ConfigError, SftConfig, parse_config
from sft_schema.attention import AttentionBackend
from sft_schema.config.rules import RULES
from sft_schema.engine import READY

MINIMAL = "base_model: m\ndatasets: [{path: a.jsonl}]\nlearning_rate: 1e-4\n"
EVAL = "test_datasets: [{path: b.jsonl}]\n"

CUT = "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"
LORA = "adapter: lora\nlora_target_linear: true\n"
PICTURES = "processor_type: AutoProcessor\n"
PACKED = "sample_packing: true\n"
QLORA = "adapter: qlora\nload_in_4bit: true\nlora_target_linear: true\n"
CHATS = "do_causal_lm_eval: true\ntest_datasets: [{path: b.jsonl}]\n"


def dataset(entry: str) -> str:
    return MINIMAL.replace("{path: a.jsonl}", f"{{path: a.jsonl, {entry}}}")


BEST = EVAL + "load_best_model_at_end: true\n"
BREAKS = {
    "unknown_attention": "attn_implementation: flash_attn\n",
    "attention_not_built": "attn_implementation: torch_varlen\n",
    "attention_in_float32": "attn_implementation: flash_attention_2\nbf16: false\n",
    "lora_without_adapter": "lora_alpha: 4\n",
    "lora_targets": "adapter: lora\n",
    "lora_layer_twice": "adapter: lora\nlora_target_modules: [q_proj, v_proj]\nlora_modules_to_save: [v_proj]\n",
    "lora_target_expression": "adapter: lora\nlora_target_modules: '(q|v_proj'\n",
    "lora_on_tensors": "adapter: lora\nlora_target_parameters: [experts.down_proj]\nlora_dropout: 0.1\n",
    "lora_numbered_layers": "adapter: lora\nlora_target_modules: [q_proj]\npeft_layers_pattern: [layers]\n",
    "lora_start": LORA + "load_in_8bit: true\npeft_init_lora_weights: olora\n",
    "pictures_packed": PICTURES + "sample_packing: true\n",
    "pictures_cut": PICTURES + "excess_length_strategy: split\n",
    "pictures_without_processor": "fetch_images: true\n",
    "not_with_pictures": PICTURES + "neftune_noise_alpha: 5\n",
    "unfrozen_weights": LORA + "unfrozen_parameters: [lm_head]\n",
    "two_quantisations": LORA + "load_in_4bit: true\nload_in_8bit: true\n",
    "quantised_without_adapter": "load_in_8bit: true\n",
    "qlora_without_4bit": "adapter: qlora\nlora_target_linear: true\n",
    "quantisation_unused": LORA + "bnb_config_kwargs: {bnb_4bit_quant_type: fp4}\n",
    "adapter_on_random_weights": LORA + "reinit_weights: true\n",
    "setting_of_another_format": dataset("type: alpaca, field_messages: conversations"),
    "piece_of_shards": dataset("shards: 4, shards_idx: 4"),
    "weight_without_mix": dataset("weight: 2"),
    "some_weights": dataset("weight: 2}, {path: b.jsonl") + "mix_strategy: interleave_over\n",
    "mix_by_without_mix": "mix_by: tokens\n",
    "packing_is_off": "packing_strategy: ffd\n",
    "split_without_pieces": PACKED + "packing_strategy: bfd_split\n",
    "held_in_bfloat16": "dtype: bfloat16\nbf16: false\n",
    "wrapped_rows_are_full": PACKED + "packing_strategy: wrapped\nmax_samples_per_pack: 4\n",
    "steps_of_kept_order": PACKED + "packing_balance: steps\nshuffle_merged_datasets: false\n",
    "custom_without_function": dataset("type: custom"),
    "key_mapped_twice": dataset("message_property_mappings: {role: from, content: from}"),
    "val_set_size": "val_set_size: 1.5\n",
    "output_over_base_model": "output_dir: ./m/\n",
    "jinja_template": "chat_template: jinja\n",
    "eot_is_eos": "special_tokens: {eos_token: </s>}\neot_tokens: [</s>]\ntrain_on_eot: none\n",
    "reserved_template_variable": "chat_template_kwargs: {messages: none}\n",
    "pad_is_eos": "special_tokens: {pad_token: </s>, eos_token: </s>}\n",
    "no_role_trained": "roles_to_train: []\n",
    "roles_without_effect": "train_on_inputs: true\nroles_to_train: [assistant, tool]\n",
    "two_eval_sources": EVAL + "val_set_size: 0.1\n",
    "eval_without_data": "do_causal_lm_eval: true\n",
    "questions_without_conversations": "do_causal_lm_eval: true\nval_set_size: 20\n",
    "answers_without_score": CHATS + "eval_causal_lm_metrics: []\n",
    "two_warmups": "warmup_steps: 3\nwarmup_ratio: 0.1\n",
    "warmup_of_a_constant": "lr_scheduler: constant\nwarmup_steps: 3\n",
    "adam_settings_without_adam": "optimizer: sgd\nadam_beta2: 0.95\n",
    "save_steps": "save_strategy: epoch\nsave_steps: 3\n",
    "optim_args": "optim_args: {momentum: 0.9}\n",
    "two_embedding_rates": "embedding_lr: 1e-5\nembedding_lr_scale: 0.5\n",
    "loraplus": "loraplus_lr_ratio: 16\n",
    "lr_groups_of_one_name": "lr_groups: [{name: a, modules: [x], lr: 1e-5}, {name: a, modules: [y], lr: 1e-5}]\n",
    "quadratic_warmup": "lr_quadratic_warmup: true\n",
    "lr_scheduler_kwargs": "lr_scheduler: polynomial\nlr_scheduler_kwargs: {power: two}\n",
    "two_starts_of_a_cycle": "lr_scheduler: one_cycle\nwarmup_steps: 5\nlr_scheduler_kwargs: {pct_start: 0.2}\n",
    "lowest_rate": "lr_scheduler: linear\ncosine_min_lr_ratio: 0.1\n",
    "jagged_restarts": "jagged_restart_steps: 8\n",
    "two_half_precisions": "bf16: true\nfp16: true\n",
    "reentrant_checkpointing": "gradient_checkpointing_kwargs: {use_reentrant: true}\n",
    "compiled": "torch_compile_mode: max-autotune\n",
    "chunked_loss": "chunked_cross_entropy_num_chunks: 4\n",
    "batch_size": "batch_size: 8\ngradient_accumulation_steps: 4\n",
    "schedule_of_schedule_free": "optimizer: schedule_free_adamw\n",
    "eval_steps": EVAL + "eval_strategy: steps\n",
    "best_without_evaluation": EVAL + "load_best_model_at_end: true\n",
    "best_without_checkpoint": EVAL + "load_best_model_at_end: true\neval_steps: 3\n",
    "best_is_lowest": "greater_is_better: true\n",
    "async_checkpoint_uploaded": "save_async: true\nuse_wandb: true\nwandb_log_model: checkpoint\n",
    "tiles_without_tiling": "tiled_mlp_num_shards: 4\n",
    "lm_eval_without_tasks": "lm_eval_limit: 4\n",
    "new_tokens": LORA + "tokens: ['<|a|>']\n",
    "watchdog_without_threshold": "loss_watchdog_patience: 5\n",
    "prefetch_without_workers": "dataloader_prefetch_factor: 4\n",
    "context_parallel_attention": "context_parallel_size: 2\n",
    "context_parallel_whole_rows": "context_parallel_size: 2\nattn_implementation: sft_varlen\ntorch_compile: true\n",
    "context_parallel_method": "context_parallel_method: ulysses\n",
    "profiler_without_steps": "profiler_steps_start: 4\n",
    "two_engines": "deepspeed: zero2\nfsdp_version: 2\n",
    "fsdp_is_off": "fsdp_config: {}\n",
    "fsdp_wrapping": "fsdp_config: {auto_wrap_policy: SIZE_BASED_WRAP}\n",
    "recomputed_twice": "gradient_checkpointing: true\nfsdp_config: {activation_checkpointing: true}\n",
    "optimizer_on_shards": "deepspeed: zero2\noptimizer: muon\n",
    "quantised_shards": LORA + "load_in_8bit: true\ndeepspeed: zero3\n",
    "not_with_shards": "fsdp_version: 2\nactivation_offloading: true\n",
    "deepspeed_config": "deepspeed: {zero_optimization: {stage: 4}}\n",
    "deepspeed_differs": "deepspeed: {zero_optimization: {stage: 2}, train_micro_batch_size_per_gpu: 8}\n",
    "service_is_off": "wandb_name: first\n",
    "secret_in_config": "use_mlflow: true\nmlflow_tracking_uri: https://me:secret@host/api\n",
    "empty_resume_folder": "resume_from_checkpoint: ''\n",
}
SECOND_WAYS = (
    ("held_in_bfloat16", "dtype: bfloat16\nfp16: true\n"),
    ("attention_not_built", "attn_implementation: flash_attention_4\n"),
    ("attention_not_built", "attn_implementation: kernels-community/flash-attn3\n"),
    ("attention_not_built", "attn_implementation: 'some/kernel@v2:forward'\n"),
    ("lora_without_adapter", "peft_use_dora: true\n"),
    ("lora_on_tensors", "adapter: lora\nlora_target_parameters: [experts.down_proj]\npeft_use_dora: true\n"),
    ("lora_numbered_layers", LORA + "peft_layers_to_transform: [1]\n"),
    ("lora_numbered_layers", "adapter: lora\nlora_target_modules: 'a.*'\npeft_layers_to_transform: [1]\n"),
    ("lora_start", QLORA + "peft_init_lora_weights: pissa\n"),
    ("lora_start", LORA + "peft_init_lora_weights: loftq\n"),
    ("new_tokens", "tokens: ['<|a|>', '<|a|>']\n"),
    ("lora_start", QLORA + "peft_init_lora_weights: loftq\npeft_use_dora: true\n"),
    ("lora_start", LORA + "peft_init_lora_weights: orthogonal\nlora_r: 3\n"),
    ("lora_start", LORA + "peft_init_lora_weights: gaussian\nlora_model_dir: a\n"),
    ("unfrozen_weights", "unfrozen_parameters: ['(a']\n"),
    ("unfrozen_weights", "unfrozen_parameters: ['embed_tokens[:100]']\nweight_decay: 0.1\n"),
    ("quantised_without_adapter", "load_in_4bit: true\n"),
    ("quantisation_unused", QLORA + "bnb_config_kwargs: {llm_int8_threshold: 3}\n"),
    ("quantisation_unused", LORA + "load_in_8bit: true\nbnb_config_kwargs: {bnb_4bit_use_double_quant: false}\n"),
    ("lora_targets", "adapter: lora\nlora_target_linear: true\nlora_target_modules: .*q_proj\n"),
    ("packing_is_off", "max_samples_per_pack: 4\n"),
    ("packing_is_off", "packing_balance: attention\n"),
    ("setting_of_another_format", dataset("field: body")),
    ("setting_of_another_format", dataset("format_function: 'a:b'")),
    ("piece_of_shards", dataset("shards_idx: 1")),
    ("weight_without_mix", EVAL.replace("b.jsonl", "b.jsonl, weight: 2")),
    ("setting_of_another_format", dataset("type: completion, roles_to_train: [user]")),
    ("setting_of_another_format", EVAL.replace("b.jsonl", "b.jsonl, type: alpaca, field_tools: functions")),
    ("reserved_template_variable", "chat_template_kwargs: {bos_token: x}\n"),
    ("no_role_trained", dataset("roles_to_train: []")),
    ("no_role_trained", dataset("train_on_inputs: false, roles_to_train: []") + "train_on_inputs: true\n"),
    ("roles_without_effect", dataset("train_on_inputs: true, roles_to_train: [tool]")),
    ("save_steps", "save_strategy: steps\n"),
    ("save_steps", "save_strategy: epoch\nsaves_per_epoch: 2\n"),
    ("save_steps", "save_steps: 3\nsaves_per_epoch: 2\n"),
    ("save_steps", "save_strategy: steps\nsaves_per_epoch: 0\n"),
    ("eval_steps", EVAL + "eval_strategy: 'no'\neval_steps: 3\n"),
    ("eval_steps", EVAL + "eval_strategy: epoch\nevals_per_epoch: 3\n"),
    ("eval_without_data", "eval_steps: 3\n"),
    ("service_is_off", "use_wandb: false\nwandb_project: small\n"),
    ("service_is_off", "trackio_space_id: me/space\n"),
    ("service_is_off", "hf_mlflow_log_artifacts: true\n"),
    ("service_is_off", "comet_online: false\n"),
    ("best_without_evaluation", "early_stopping_patience: 3\nevals_per_epoch: 1\n"),
    ("best_without_evaluation", EVAL + "save_strategy: best\n"),
    ("best_without_checkpoint", BEST + "eval_steps: 3\nsave_steps: 5\n"),
    ("best_without_checkpoint", BEST + "eval_steps: 0.1\nsave_steps: 0.25\n"),
    ("best_without_checkpoint", BEST + "evals_per_epoch: 2\nsaves_per_epoch: 4\n"),
    ("best_without_checkpoint", BEST + "evals_per_epoch: 2\nsave_steps: 10\n"),
    ("best_without_checkpoint", BEST + "eval_steps: 3\nsave_strategy: 'no'\n"),
    ("best_without_checkpoint", EVAL + "early_stopping_patience: 3\nevals_per_epoch: 2\n"),
    ("jinja_template", "chat_template: llama3\nchat_template_jinja: t.jinja\n"),
    ("jinja_template", dataset("chat_template: jinja")),
    ("jinja_template", dataset("chat_template: gemma, chat_template_jinja: t.jinja")),
    ("setting_of_another_format", dataset("type: completion, split_thinking: true")),
    ("eval_without_data", "eval_strategy: epoch\n"),
    ("questions_without_conversations", CHATS.replace("b.jsonl", "b.jsonl, type: completion")),
    ("warmup_of_a_constant", "lr_scheduler: constant\nwarmup_ratio: 0.1\n"),
    ("adam_settings_without_adam", "optimizer: adafactor\nadam_epsilon: 1e-6\n"),
    ("adam_settings_without_adam", "optimizer: lion_8bit\nadam_epsilon: 1e-6\n"),
    ("optim_args", "optimizer: sgd\noptim_args: {momentum: 1.5}\n"),
    ("optim_args", "optimizer: sgd\noptim_args: {nesterov: true}\n"),
    ("optim_args", "optimizer: muon\noptim_args: {adjust_lr_fn: other}\n"),
    ("two_embedding_rates", LORA + "embedding_lr: 1e-5\nloraplus_lr_ratio: 16\n"),
    ("loraplus", "loraplus_lr_embedding: 1e-5\n"),
    ("loraplus", LORA + "loraplus_lr_ratio: 16\nlr_groups: [{name: a, modules: [x], lr: 1e-5}]\n"),
    ("lr_scheduler_kwargs", "lr_scheduler: linear\nlr_scheduler_kwargs: {num_cycles: 2}\n"),
    ("lr_scheduler_kwargs", "lr_scheduler: polynomial\nlr_scheduler_kwargs: {lr_end: 1e-3}\n"),
    ("lowest_rate", "cosine_constant_lr_ratio: 0.5\n"),
    ("lowest_rate", "lr_scheduler: rex\ncosine_min_lr_ratio: 0.1\ncosine_constant_lr_ratio: 0.5\n"),
    ("jagged_restarts", "jagged_restart_anneal_steps: 3\n"),
    ("batch_size", "batch_size: 7\nmicro_batch_size: 2\n"),
    (
        "reentrant_checkpointing",
        "gradient_checkpointing: true\ngradient_checkpointing_kwargs: {use_reentrant: true}\ntorch_compile: true\n",
    ),
    ("compiled", "torch_compile_backend: aot_eager\n"),
    ("compiled", "torch_compile: true\nneftune_noise_alpha: 5.0\n"),
    ("compiled", "torch_compile: true\ncut_cross_entropy: true\n"),
    ("chunked_loss", "chunked_cross_entropy: true\ncut_cross_entropy: true\n"),
    ("chunked_loss", f"plugins: [{CUT}]\ncut_cross_entropy: false\n"),
    ("fsdp_wrapping", "fsdp_config: {auto_wrap_policy: NO_WRAP, transformer_layer_cls_to_wrap: A}\n"),
    ("fsdp_wrapping", "fsdp_config: {cpu_offload_pin_memory: false, state_dict_type: SHARDED_STATE_DICT}\n"),
    ("optimizer_on_shards", "fsdp_version: 2\noptimizer: adamw_bnb_8bit\n"),
    ("quantised_shards", QLORA + "fsdp_version: 2\n"),
    ("quantised_shards", QLORA + "deepspeed: zero3\n"),
    ("not_with_shards", "deepspeed: zero3\nchunked_cross_entropy: true\n"),
    ("not_with_shards", "deepspeed: zero2\nfp16: true\nbf16: false\n"),
    ("not_with_shards", CHATS + "fsdp_version: 2\n"),
    ("deepspeed_config", "deepspeed: {zero_optimization: {stage: 2}, optimizer: {type: AdamW}}\n"),
    ("deepspeed_config", "deepspeed: {zero_optimization: {stage: 2, offload_param: {device: cpu}}}\n"),
    ("deepspeed_config", "deepspeed: {zero_optimization: {stage: 2, offload_optimizer: {device: cpu}}}\n"),
    ("deepspeed_differs", "bf16: false\ndeepspeed: {zero_optimization: {stage: 1}, bf16: {enabled: true}}\n"),
    ("deepspeed_differs", "micro_batch_size: 2\ndeepspeed: {zero_optimization: {stage: 1}, train_batch_size: 5}\n"),
    ("jagged_restarts", "lr_scheduler: one_cycle\njagged_restart_steps: 100\n"),
)
FINE = (
    QLORA + "bnb_config_kwargs: {bnb_4bit_compute_dtype: bfloat16, llm_int8_skip_modules: [q_proj]}\n",
    LORA + "load_in_4bit: true\n",
    *(f"deepspeed: {name}\n" for name in READY),
    QLORA + "fsdp_version: 2\nbnb_config_kwargs: {bnb_4bit_quant_storage: bfloat16}\n",
    "fsdp_config: {offload_params: true, reshard_after_forward: false, transformer_layer_cls_to_wrap: 'A, B'}\n",
    "fsdp_config: {auto_wrap_policy: SIZE_BASED_WRAP, min_num_params: 1000}\n",
    LORA + "load_in_8bit: true\nbnb_config_kwargs: {llm_int8_threshold: 3}\n",
    "load_in_4bit: false\nload_in_8bit: false\n",
    "adapter: lora\nlora_model_dir: a\n",
    "adapter: lora\nlora_target_modules: 'model.layers.[0-9]+.(mlp|self_attn).(up|q)_proj'\n",
    "adapter: lora\nlora_target_modules: [q_proj]\npeft_layers_to_transform: [0, 1]\npeft_layers_pattern: [layers]\n",
    "adapter: lora\nlora_target_parameters: [experts.down_proj]\n",
    "unfrozen_parameters: ['^lm_head.weight$', 'embed_tokens[:100]']\n",
    "unfrozen_parameters: ['^lm_head.weight$']\nweight_decay: 0.1\n",
    "adapter: lora\nlora_r: 4\nlora_target_linear: true\n",
    "adapter: lora\nlora_target_modules: [q_proj]\nlora_modules_to_save: [embed_tokens]\n",
    "warmup_ratio: 0.1\n",
    "val_set_size: 0.5\neval_strategy: steps\neval_steps: 5\n",
    CHATS,
    "save_strategy: steps\nsave_steps: 3\n",
    "save_steps: 0.25\nlogging_steps: 0.1\n",
    "save_strategy: steps\nsaves_per_epoch: 2\n",
    "save_strategy: 'no'\nsaves_per_epoch: 0\n",
    "evals_per_epoch: 4\n",
    BEST + "eval_steps: 3\nsave_steps: 6\n",
    BEST + "eval_steps: 0.1\nsave_steps: 0.1\n",
    BEST + "eval_strategy: epoch\nmetric_for_best_model: loss\ngreater_is_better: false\n",
    BEST + "evals_per_epoch: 4\nsaves_per_epoch: 2\n",
    BEST + "evals_per_epoch: 4\nsave_strategy: best\n",
    EVAL + "early_stopping_patience: 3\nload_best_model_at_end: false\nevals_per_epoch: 2\n",
    "use_mlflow: true\nmlflow_tracking_uri: https://host/api\n",
    "wandb_project: small\nwandb_log_model: 'false'\nwandb_watch: false\nwandb_name: first\n",
    "dataloader_num_workers: 2\ndataloader_prefetch_factor: 4\n",
    "profiler_steps: 2\nprofiler_steps_start: 4\n",
    "loss_watchdog_threshold: 5.0\nloss_watchdog_patience: 5\n",
    EVAL + "evals_per_epoch: 4\nsaves_per_epoch: 1\n",
    "chat_template: jinja\nchat_template_jinja: t.jinja\n",
    "chat_template_jinja: t.jinja\n",
    "chat_template: tokenizer_default_fallback_chatml\n",
    dataset("chat_template: llama3, roles: {user: [human]}"),
    "special_tokens: {eos_token: </s>}\neot_tokens: [</s>, <eot>]\ntrain_on_eos: all\ntrain_on_eot: all\n",
    "chat_template_kwargs: {enable_thinking: false}\n",
    "special_tokens: {pad_token: <pad>, eos_token: </s>}\n",
    "special_tokens: {eos_token: </s>}\n",
    "train_on_inputs: true\n",
    dataset("type: completion, field: body") + "roles_to_train: []\n",
    dataset("train_on_inputs: true, roles_to_train: [assistant]"),
    dataset("roles_to_train: [tool]"),
    dataset("message_property_mappings: {role: from, content: value}, field_tools: functions"),
    "lr_scheduler: constant_with_warmup\nwarmup_steps: 3\n",
    "optimizer: sgd\n",
    "batch_size: 8\nmicro_batch_size: 2\n",
    "fp16: true\nattn_implementation: flash_attention_2\nbf16: false\n",
    "gradient_checkpointing: true\ngradient_checkpointing_kwargs: {use_reentrant: true}\nactivation_offloading: true\n",
    "torch_compile: true\ntorch_compile_backend: aot_eager\ntorch_compile_mode: reduce-overhead\ntf32: auto\n",
    f"plugins: [{CUT}]\ncut_cross_entropy: true\nchunked_cross_entropy_num_chunks: 4\n",
    f"plugins: [{CUT}]\nneftune_noise_alpha: 5.0\n",
    "optimizer: lion_8bit\nadam_beta1: 0.95\noptim_args: {min_8bit_size: 1024}\n",
    "optimizer: schedule_free_adamw\nlr_scheduler: constant_with_warmup\nwarmup_steps: 10\n",
    "cosine_min_lr_ratio: 1.0\ncosine_constant_lr_ratio: 0\n",
    "lr_scheduler: linear\ncosine_min_lr_ratio: 0.01\njagged_restart_steps: 50\n",
    LORA + "loraplus_lr_ratio: 16\nloraplus_lr_embedding: 1e-5\n",
    "lr_groups: [{name: a, modules: [q_proj], lr: 1e-5}]\nembedding_lr_scale: 0.5\n",
    "lr_scheduler: one_cycle\nlr_scheduler_kwargs: {pct_start: 0.2, three_phase: true}\n",
    "lr_quadratic_warmup: true\nwarmup_ratio: 0.1\n",
    "resume_from_checkpoint: out/checkpoint-3\n",
    "output_dir: m/tuned\n",
    "attn_implementation: eager\nbf16: false\n",
    *(f"attn_implementation: {name}\nsample_packing: true\nmicro_batch_size: 2\n" for name in BACKENDS),
)


def config(text: str) -> str:
    return text if text.startswith("base_model") else MINIMAL + text


@pytest.mark.parametrize(("code", "text"), [*BREAKS.items(), *SECOND_WAYS])
def test_a_rule_names_the_impossible_combination(code: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(config(text))
    (issue,) = caught.value.issues
    assert issue.code == code
    assert issue.line is not None
    assert issue.fix


@pytest.mark.parametrize("text", FINE)
def test_possible_combinations_pass(text: str) -> None:
    parse_config(config(text))


@pytest.mark.parametrize("text", FINE)
def test_a_resolved_config_passes_like_the_one_it_came_from(text: str) -> None:
    cfg = parse_config(config(text))
    kept = {key: value for key, value in cfg.model_dump(mode="json").items() if cfg.adapter or key[:5] != "lora_"}
    assert parse_config(json.dumps(kept)) == cfg


@pytest.mark.parametrize("shared", ["sample_packing: true", "micro_batch_size: 2", "eval_batch_size: 3"])
def test_sharing_rows_on_a_backend_that_mixes_samples_is_refused(monkeypatch: pytest.MonkeyPatch, shared: str) -> None:
    mixing = AttentionBackend("mixing", "none", None, ("float32",), on_cpu=True)
    monkeypatch.setitem(BACKENDS, "mixing", mixing)
    with pytest.raises(ConfigError, match="would attend to one another") as caught:
        parse_config(MINIMAL + f"attn_implementation: mixing\n{shared}\n")
    (issue,) = caught.value.issues
    assert issue.path == (shared.split(":")[0],)
    assert issue.fix == "set attn_implementation to one of " + ", ".join(name for name in BACKENDS if name != "mixing")
    parse_config(MINIMAL + "attn_implementation: mixing\n")


def test_an_unbuilt_backend_is_refused_with_its_reason_and_what_can_be_used() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(MINIMAL + "attn_implementation: torch_varlen\n")
    (issue,) = caught.value.issues
    assert (
        issue.message == "'torch_varlen' is not available: torch.nn.attention.varlen is not connected to the models yet"
    )
    assert issue.fix == "choose one of eager, sdpa, flex_attention, flash_attention_2, flash_attention_3, sft_varlen"


def test_every_rule_is_tested() -> None:
    assert sorted(rule.code for rule in RULES) == sorted({*BREAKS, "packing_not_isolated"})


def test_a_rule_reads_no_setting_that_is_not_among_its_keys() -> None:
    """A rule runs on stand-ins where a setting is broken, so what it reads must be what it says."""
    for rule in RULES:
        read: set[str] = set()
        rule.check(Recorder(read))  # type: ignore[arg-type]
        assert read <= {*rule.keys, "model_fields_set"}, rule.code


class Recorder:
    """A config that notes which of its settings are looked at."""

    def __init__(self, read: set[str]) -> None:
        values = {"base_model": "m", "datasets": [{"path": "a.jsonl"}], "learning_rate": 1e-4, "adapter": "lora"}
        self._read, self._config = read, SftConfig.model_validate_json(json.dumps(values))

    def __getattr__(self, name: str) -> object:
        self._read.add(name)
        return getattr(self._config, name)


def test_a_rule_stays_silent_when_its_setting_is_itself_wrong() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(MINIMAL + "adapter: loar\nlora_r: 4\n")
    assert [issue.code for issue in caught.value.issues] == ["wrong_value"]


@pytest.mark.parametrize(
    ("extra", "key"),
    [
        ("special_tokens_in_content: text\n", "special_tokens_in_content"),
        ("expand_turns: true\n", "expand_turns"),
        (CHATS, "do_causal_lm_eval"),
        ("dataset_near_deduplication: 0.9\n", "dataset_near_deduplication"),
        ("chunked_cross_entropy: true\n", "chunked_cross_entropy"),
        (f"plugins: [{CUT}]\n", "plugins"),
        ("attn_implementation: flash_attention_2\n", "attn_implementation"),
        ("dataset_prepared_path: s3://bucket/x\n", "dataset_prepared_path"),
        ("push_dataset_to_hub: owner/name\n", "push_dataset_to_hub"),
    ],
)
def test_with_pictures_what_is_for_text_alone_is_refused(extra: str, key: str) -> None:
    parse_config(MINIMAL + PICTURES)
    with pytest.raises(ConfigError) as caught:
        parse_config(MINIMAL + PICTURES + extra)
    assert [(issue.code, issue.path[-1]) for issue in caught.value.issues] == [("not_with_pictures", key)]


@pytest.mark.parametrize("entry", ["field_images: photo", "image_folder: photos"])
def test_settings_of_pictures_need_a_processor(entry: str) -> None:
    with pytest.raises(ConfigError, match="has no effect without processor_type"):
        parse_config(dataset(entry))
    parse_config(dataset(entry) + PICTURES)


def test_rows_with_pictures_share_a_batch_on_every_backend_that_pads() -> None:
    """They are padded, not joined: what keeps packed samples apart does not matter."""
    parse_config(MINIMAL + PICTURES + "micro_batch_size: 4\neval_batch_size: 4\n")
