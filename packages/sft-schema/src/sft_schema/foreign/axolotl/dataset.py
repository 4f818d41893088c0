"""axolotl's keys inside an entry of `datasets`."""

from __future__ import annotations

from typing import Any

from sft_schema.foreign.answer import (
    Answer,
    Judge,
    Refusal,
    Rewrite,
    is_one_of,
    judged,
    no_effect,
    refused,
    renamed,
    same,
    table,
)

_ALIASES = Refusal(
    "roles keep the names that they have in the data",
    "rename the roles in the data to system, user, assistant and tool, and remove it",
)
_SAME_ROLES = "the roles have these names already"


def _mapping(property_: str) -> Judge:
    def judge(key: Any) -> Answer:
        return Rewrite({"message_property_mappings": {property_: key}})

    return judge


def _roles(value: Any) -> Answer:
    """`roles: {assistant: [assistant]}` renames nothing."""
    if isinstance(value, dict) and all(is_one_of(names, ([role],)) for role, names in value.items()):  # pyright: ignore
        return Rewrite({}, _SAME_ROLES)
    return _ALIASES


_COLUMNS = (
    "write `type: alpaca` for the columns instruction, input and output, or turn the rows into `messages` with "
    "`type: chat_template`"
)

AXOLOTL_DATASET = table(
    "axolotl",
    same(
        "path type ds_type name split revision field_messages field_tools field message_property_mappings "
        "train_on_eos roles_to_train"
    ),
    renamed("message_field_role", "message_property_mappings", _mapping("role")),
    renamed("message_field_content", "message_property_mappings", _mapping("content")),
    renamed("train_on_eot", "train_on_eos"),
    renamed("text_column", "field"),
    judged("roles", _roles),
    refused(
        "`path` names the file, the folder or the hub data set",
        "write the file into `path`, one entry of `datasets` for each file",
        "data_files",
    ),
    refused(
        "a data set is always used whole",
        "write a part such as `split: train[:10%]` for a hub data set, or cut the file",
        "shards shards_idx preprocess_shards skip",
    ),
    refused(
        "one template holds for all data sets, and it is the one that is saved with the model",
        "write `chat_template` at the top level",
        "chat_template chat_template_jinja",
    ),
    refused(
        "messages and parts of messages are not chosen one by one",
        "write `roles_to_train`, or leave out what is not to be trained",
        "message_field_training message_field_training_detail",
    ),
    refused(
        "reasoning is not split off",
        "give it in the data as the message's `reasoning_content`",
        off="split_thinking",
    ),
    no_effect(
        "a message's reasoning_content, thinking or reasoning reaches the template under both names that templates use",
        "field_thinking template_thinking_key",
        accepts=("reasoning_content", "thinking", "reasoning"),
    ),
    refused("system messages are kept", "remove them from the data", off="drop_system_message"),
    refused("code that comes with a data set is not run", "remove it", off="trust_remote_code"),
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
