"""axolotl's keys of reinforcement learning, preferences and rewards."""

from __future__ import annotations

from sft_schema.foreign import sentences as say
from sft_schema.foreign.answer import refused

_OTHER = "remove it and train on good answers, or use a tool for reinforcement learning"

RL = (
    refused(
        *say.NOT_SFT,
        "rl trl vllm ebft dpo_beta rl_beta rpo_alpha orpo_alpha simpo_gamma cpo_alpha kto_desirable_weight "
        "kto_undesirable_weight dpo_label_smoothing dpo_loss_type dpo_loss_weights center_rewards_coefficient "
        "rl_adapter_ref_model",
        off="reward_model process_reward_model dpo_use_weighting precompute_ref_log_probs dpo_use_liger_kernel "
        "dpo_padding_free dpo_use_logits_to_keep dpo_generate_during_eval dpo_norm_loss",
    ),
)
