"""Keys of TRL's `trl sft --config` files: its own and those of transformers.

Source: TRL's SFTConfig, ModelConfig and ScriptArguments, 0.9 to 1.10.
"""

from __future__ import annotations

from typing import Any

from sft_schema.foreign import sentences as say
from sft_schema.foreign.answer import Answer, Judge, Refusal, Rewrite, no_effect, refused, renamed, same, table
from sft_schema.foreign.judges import choice, switch
from sft_schema.foreign.transformers import TRANSFORMERS


def _entry(key: str) -> Judge:
    def judge(value: Any) -> Answer:
        return Rewrite({"datasets": [{key: value}]})

    return judge


def _bits(key: str) -> Judge:
    return lambda value: Rewrite({"bnb_config_kwargs": {key: value}})


_ALL_TOKENS = {"train_on_inputs": True}

_TRL = table(
    "TRL",
    same("datasets trust_remote_code attn_implementation lora_r lora_alpha lora_dropout lora_target_modules"),
    same("lora_modules_to_save"),
    renamed("model_name_or_path", "base_model"),
    renamed("model_revision", "revision_of_model"),
    renamed("dataset_name", "datasets", _entry("path")),
    renamed("dataset_config", "datasets", _entry("name")),
    renamed("dataset_train_split", "datasets", _entry("split")),
    renamed(
        "dataset_text_field", "datasets", lambda value: Rewrite({"datasets": [{"type": "completion", "field": value}]})
    ),
    renamed("dataset_test_split", "test_datasets", lambda value: Rewrite({"test_datasets": [{"split": value}]})),
    renamed("test_split_size", "val_set_size"),
    renamed("max_length", "sequence_len"),
    renamed("max_seq_length", "sequence_len"),
    renamed("packing", "sample_packing"),
    renamed("use_peft", "adapter", switch({"adapter": "lora"}, why="without `adapter` all weights are trained")),
    renamed("assistant_only_loss", "train_on_inputs", switch({"train_on_inputs": False}, _ALL_TOKENS)),
    renamed("completion_only_loss", "train_on_inputs", switch({"train_on_inputs": False}, _ALL_TOKENS)),
    renamed(
        "truncation_mode",
        "excess_length_strategy",
        choice(
            {"keep_start": Rewrite({"excess_length_strategy": "truncate"})},
            Refusal(
                "samples are cut at their end only",
                "write `excess_length_strategy: truncate`, or `drop`",
                {"excess_length_strategy": "truncate"},
            ),
        ),
    ),
    renamed("eos_token", "special_tokens", lambda value: Rewrite({"special_tokens": {"eos_token": value}})),
    renamed("pad_token", "special_tokens", lambda value: Rewrite({"special_tokens": {"pad_token": value}})),
    renamed(
        "chat_template_path",
        "chat_template chat_template_jinja",
        lambda value: _template_path(value),
    ),
    same("packing_strategy"),
    no_effect("samples of a batch are always joined without padding", "padding_free", accepts=(True,)),
    no_effect(say.UNPADDED, "pad_to_multiple_of"),
    no_effect(say.HELD_OUT_PACKED, "eval_packing"),
    same("dataset_num_proc"),
    no_effect("rows are tokenised in blocks of their own size", "dataset_batch_size num_of_sequences chars_per_token"),
    no_effect("rows come in a new random order in every epoch", "shuffle_dataset", accepts=(True,)),
    refused(*say.PREPARED, "dataset_kwargs", off="skip_prepare_dataset"),
    refused(*say.STREAMED, off="streaming dataset_streaming"),
    renamed(
        "loss_type",
        "chunked_cross_entropy",
        choice(
            {"chunked_nll": Rewrite({"chunked_cross_entropy": True})},
            Refusal(
                "this loss is not implemented",
                "remove it; the loss is the plain cross-entropy of the trained tokens",
            ),
        ),
        accepts=("nll",),
    ),
    refused(*say.BALANCING, "router_aux_loss_coef", accepts=(0, 0.0)),
    same("activation_offloading"),
    refused(*say.MODEL_CONFIG, "model_init_kwargs"),
    same("dtype"),
    renamed("torch_dtype", "dtype"),
    same("load_in_4bit load_in_8bit lora_target_parameters"),
    renamed("bnb_4bit_quant_type", "bnb_config_kwargs", _bits("bnb_4bit_quant_type")),
    renamed("bnb_4bit_quant_storage", "bnb_config_kwargs", _bits("bnb_4bit_quant_storage")),
    renamed("use_bnb_nested_quant", "bnb_config_kwargs", _bits("bnb_4bit_use_double_quant")),
    refused("only language models are trained", "remove it", "lora_task_type", accepts=("CAUSAL_LM",)),
    renamed("use_rslora", "peft_use_rslora"),
    renamed("use_dora", "peft_use_dora"),
    no_effect("it works around an old fault of DDP", "ignore_bias_buffers"),
)


def _template_path(value: Any) -> Answer:
    if isinstance(value, str) and value.endswith(".jinja"):
        return Rewrite({"chat_template": "jinja", "chat_template_jinja": value})
    return Refusal(
        "a template is not taken from another model",
        "save that model's template as a .jinja file and name it in `chat_template_jinja`, with `chat_template: jinja`",
    )


TRL = TRANSFORMERS | _TRL

TRL_DATASET = table(
    "TRL",
    same("path name split data_files data_dir"),
    refused("columns that the format does not read are left out", "remove it", "columns"),
    refused(
        "data sets are used whole, and not weighed against one another",
        "write a part such as `split: train[:10%]`",
        "fraction",
    ),
)
