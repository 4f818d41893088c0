"""Which model and which tokenizer."""

from __future__ import annotations

from typing import Literal

from sft_schema.config.section import Section, setting


class SpecialTokens(Section):
    """Special tokens to use instead of the tokenizer's own."""

    bos_token: str | None = setting("Begins a text.", None)
    eos_token: str | None = setting("Ends a text; generation stops at it.", None)
    pad_token: str | None = setting("Fills batches up in generation; never a token that is trained.", None)
    unk_token: str | None = setting("Stands for what the vocabulary lacks.", None)


class ModelSection(Section):
    """The base model, its tokenizer and its attention."""

    base_model: str = setting("Hub id or local folder of the model to fine-tune.", min_length=1)
    revision_of_model: str | None = setting("Branch, tag or commit of `base_model` on the hub.", None)
    tokenizer_config: str | None = setting("Hub id or folder of the tokenizer, when it is not `base_model`'s.", None)
    processor_type: Literal["AutoProcessor"] | None = setting(
        "Train on pictures as well as text, with the processor that the model comes with.", None
    )
    tokenizer_engine: Literal["auto", "tokenizers", "tiktoken"] = setting(
        "What encodes the rows: `tokenizers`, or `tiktoken` where it is proven to give the same tokens; `auto` takes "
        "the faster one for data that is large enough for the proof to pay.",
        "auto",
    )
    trust_remote_code: bool = setting("Run Python code that comes with the model.", False)
    reinit_weights: bool = setting("Start from random weights made from the model's config.json.", False)
    attn_implementation: str = setting("Attention backend: a row of `sft_schema.attention`.", "sdpa")
    special_tokens: SpecialTokens = setting("Special tokens to change.", SpecialTokens)
    tokens: tuple[str, ...] = setting(
        "Special tokens to add, such as markers of a chat template; the model gets a row for each, at the mean of the "
        "others.",
        (),
    )
