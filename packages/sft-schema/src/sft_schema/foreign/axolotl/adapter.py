"""axolotl's keys about adapters and quantisation."""

from __future__ import annotations

from sft_schema.foreign import sentences as say
from sft_schema.foreign.answer import no_effect, refused, same

_WHOLE = "remove it; `adapter: lora` trains the adapter on the model as it is"

ADAPTER = (
    same("adapter lora_r lora_alpha lora_dropout lora_target_modules lora_target_linear lora_modules_to_save"),
    same("lora_target_parameters lora_model_dir peft_use_rslora peft_use_dora peft_init_lora_weights"),
    same("peft_layers_to_transform peft_layers_pattern"),
    same("load_in_4bit load_in_8bit bnb_config_kwargs"),
    refused("each process loads the model by itself", "remove it", off="qlora_sharded_model_loading"),
    no_effect(say.IGNORED, "gptq_groupsize gptq_model_v1 gptq_disable_exllama peft_adapter"),
    no_effect("peft finds it out from the layer", "lora_fan_in_fan_out"),
    refused(*say.LOFTQ, "peft loftq_config"),
    refused(
        "the same rank and scale hold for all adapted layers",
        "remove it; `lora_r` and `lora_alpha` hold for all",
        "lora_rank_pattern lora_alpha_pattern",
    ),
    refused(
        "layers are adapted as they are, and rows of an embedding are not trained alone",
        "remove it; `lora_modules_to_save` names layers that are trained whole",
        "peft_layer_replication peft_trainable_token_indices",
    ),
    no_effect("embeddings that share their weights with the head stay so", "peft_ensure_weight_tying"),
    refused("adapters have float32 weights", "remove it", "peft_autocast_adapter_dtype", accepts=(True,)),
    refused("adapters are made on the training device", "remove it", off="lora_on_cpu"),
    refused(
        "models are not merged by the config",
        "merge with peft's `merge_and_unload` after training; `sft train` prints the command that loads the adapter",
        "merge_method",
        off="merge_lora nvfp4_merge_aware",
    ),
    refused(
        "restarts of the adapter are not implemented",
        "remove it; a larger `lora_r` gives the adapter more room",
        "relora_prune_ratio relora_prune_method",
        off="relora relora_cpu_offload",
    ),
    refused(
        "training of changing layers (LISA) is not implemented",
        "write `adapter: lora`, which needs less memory still",
        "lisa_n_layers lisa_step_interval lisa_layers_attribute",
    ),
    refused(
        "quantisation during or after training is not implemented",
        "remove it and quantise the saved model with another tool",
        "qat quantization llmcompressor",
    ),
)
