"""Keys of other systems and of the past, with the key that says the same here."""

from __future__ import annotations

REPLACED: dict[str, str] = {
    # axolotl's attention booleans
    "flash_attention": "attn_implementation: flash_attention_2",
    "flex_attention": "attn_implementation: flex_attention",
    "sdp_attention": "attn_implementation: sdpa",
    "eager_attention": "attn_implementation: eager",
    "attn_supports_packing": "attn_implementation (the flag is computed from it)",
    "attn_uses_flash_lib": "attn_implementation (the flag is computed from it)",
    "attn_needs_dtype_cast": "attn_implementation (the flag is computed from it)",
    # TRL, LLaMA-Factory and transformers
    "model_name_or_path": "base_model",
    "max_length": "sequence_len",
    "max_seq_length": "sequence_len",
    "cutoff_len": "sequence_len",
    "packing": "sample_packing",
    "per_device_train_batch_size": "micro_batch_size",
    "per_device_eval_batch_size": "eval_batch_size",
    "num_train_epochs": "num_epochs",
    "lr_scheduler_type": "lr_scheduler",
    "optim": "optimizer",
    "lora_rank": "lora_r",
    "lora_target": "lora_target_modules",
    "evaluation_strategy": "eval_strategy",
    "activation_checkpointing": "gradient_checkpointing",
}
