"""axolotl's keys inside an entry of `datasets`."""

from __future__ import annotations

from typing import Any

from sft_schema.foreign.answer import (
    Answer,
    Judge,
    Rewrite,
    no_effect,
    refused,
    renamed,
    same,
    table,
)


def _mapping(property_: str) -> Judge:
    def judge(key: Any) -> Answer:
        return Rewrite({"message_property_mappings": {property_: key}})

    return judge


_COLUMNS = (
    "write `type: alpaca` for the columns instruction, input and output, or turn the rows into `messages` with "
    "`type: chat_template`"
)

AXOLOTL_DATASET = table(
    "axolotl",
    same(
        "path type ds_type data_files name split revision shards shards_idx field_messages field_tools field "
        "message_property_mappings "
        "train_on_eos train_on_eot roles roles_to_train chat_template chat_template_jinja message_field_training "
        "message_field_training_detail split_thinking drop_system_message field_thinking template_thinking_key"
    ),
    renamed("message_field_role", "message_property_mappings", _mapping("role")),
    renamed("message_field_content", "message_property_mappings", _mapping("content")),
    renamed("text_column", "field"),
    refused(
        "rows are not left out by number in a setting of its own",
        "write a part of the split, such as `split: train[1000:]`",
        "skip",
    ),
    no_effect("rows are read one at a time, and never all kept in memory as they were read", "preprocess_shards"),
    no_effect(
        "the datasets library runs no code of data sets any more, and says so of a data set that needs it",
        "trust_remote_code",
    ),
    refused(
        "a prompt style of one's own is not supported",
        _COLUMNS,
        "field_system field_instruction field_input field_output system_prompt system_format format no_input_format "
        "input_format input_transform conversation field_human field_model",
    ),
    refused(
        "rewards, preferences, logits and made-up rows are not supervised fine-tuning",
        "remove it and use rows of `messages` with `type: chat_template`",
        "field_chosen field_rejected field_prompt field_completion field_label prompt_format chosen_format "
        "rejected_format completion_format step_separator max_completion_length train_on_last_step_only "
        "logprobs_field temperature length sequence_length min_input_id max_input_id seed",
    ),
)
