"""How a data set's rows become conversations, and which parts of these are trained."""

from __future__ import annotations

from typing import Literal

from sft_schema.config.section import Section, setting

TrainOnEos = Literal["all", "turn", "last", "none"]
NamedTemplate = Literal[
    "alpaca", "aya", "chatml", "cohere", "deepseek_v2", "deepseek_v3", "exaone", "falcon_h1", "gemma", "gemma3",
    "gemma3n", "gemma4", "jamba", "llama3", "llama4", "metharme", "mistral_v1", "mistral_v2v3", "mistral_v3_tekken",
    "mistral_v7_tekken", "nemotron_h", "phi_3", "phi_35", "phi_4", "qwen2_vl", "qwen3", "qwen3_5", "qwen_25",
]  # fmt: skip
"""Templates that come with sft-data, one .jinja file each."""
FallbackTemplate = Literal[
    "tokenizer_default_fallback_alpaca", "tokenizer_default_fallback_chatml", "tokenizer_default_fallback_cohere",
    "tokenizer_default_fallback_deepseek_v2", "tokenizer_default_fallback_deepseek_v3",
    "tokenizer_default_fallback_exaone", "tokenizer_default_fallback_falcon_h1", "tokenizer_default_fallback_gemma",
    "tokenizer_default_fallback_gemma3", "tokenizer_default_fallback_llama3", "tokenizer_default_fallback_llama4",
    "tokenizer_default_fallback_mistral_v1", "tokenizer_default_fallback_mistral_v2v3",
    "tokenizer_default_fallback_mistral_v3_tekken", "tokenizer_default_fallback_mistral_v7_tekken",
    "tokenizer_default_fallback_phi_3", "tokenizer_default_fallback_phi_35", "tokenizer_default_fallback_phi_4",
    "tokenizer_default_fallback_qwen3", "tokenizer_default_fallback_qwen_25",
]  # fmt: skip
TemplateName = Literal["tokenizer_default", "jinja"] | NamedTemplate | FallbackTemplate


class ConversationConfig(Section):
    """Columns and keys of a data set's conversations; a setting that a data set may override is None here."""

    chat_template: TemplateName | None = setting(
        "Overrides the top-level `chat_template` for training; the model is saved with the top-level one.", None
    )
    chat_template_jinja: str | None = setting("Overrides the top-level `chat_template_jinja`.", None)
    field_messages: str | None = setting(
        "Column that holds the messages (chat_template); without it `messages`, else `conversations`.", None
    )
    field_images: str | None = setting(
        "Column that holds the pictures of `<image>` and of image parts without an address, in order; without it "
        "`images`, else `image`.",
        None,
    )
    image_folder: str | None = setting(
        "Folder of pictures that are named by a relative path; without it the folder of the data.", None, min_length=1
    )
    field_tools: str = setting("Column that holds the tools (chat_template).", "tools")
    message_property_mappings: dict[str, str] = setting(
        "Message property to key of the row's message, such as `role: from`; ShareGPT's `from` and `value` are known.",
        {},
    )
    roles: dict[str, tuple[str, ...]] | None = setting(
        "Role to its names in the data; without it user: [human, user] and assistant: [gpt, assistant].", None
    )
    drop_system_message: bool = setting("Leave a conversation's system message out.", False)
    field_thinking: str = setting("Key of a message that holds its reasoning.", "reasoning_content")
    template_thinking_key: str = setting("Name under which the template reads the reasoning.", "reasoning_content")
    split_thinking: bool = setting(
        "Move a leading `<think>...</think>` of an assistant's text into the reasoning.", False
    )
    message_field_training: str | None = setting(
        "Key of a message that says whether it is trained; without it `training`, `train` or `weight`.", None
    )
    message_field_training_detail: str | None = setting(
        "Key of a message that lists spans of its text: begin_offset, end_offset (inclusive), train.", None
    )
    train_on_inputs: bool | None = setting("Overrides the top-level `train_on_inputs`.", None)
    train_on_eos: TrainOnEos | None = setting("Overrides the top-level `train_on_eos`.", None)
    train_on_eot: TrainOnEos | None = setting("Overrides the top-level `train_on_eot`.", None)
    roles_to_train: tuple[str, ...] | None = setting("Overrides the top-level `roles_to_train`.", None)
    mask_history: bool | None = setting("Overrides the top-level `mask_history`.", None)
    train_on_reasoning: bool | None = setting("Overrides the top-level `train_on_reasoning`.", None)
    expand_turns: bool | None = setting("Overrides the top-level `expand_turns`.", None)
