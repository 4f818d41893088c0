"""Where the rows come from and how they are read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sft_schema.config.conversation import ConversationConfig, TemplateName, TrainOnEos
from sft_schema.config.section import Section, setting
from sft_schema.config.source import SourceConfig

FormatName = Literal[
    "chat_template", "completion", "input_output", "prompt_completion", "alpaca", "alpaca:instruct", "alpaca:chat",
    "alpaca:chatml", "alpaca:phi", "alpaca_instruct", "alpaca_instruct.load_no_prompt", "alpaca_chat",
    "alpaca_chat.load_concise", "alpaca_chat.load_no_prompt", "alpaca_chat.load_qa", "alpaca_chat.load_camel_ai",
    "alpaca_w_system", "alpaca_w_system.load_chat", "alpaca_w_system.load_instruct", "alpaca_w_system.load_open_orca",
    "alpaca_w_system.load_open_orca_chatml", "auto", "context_qa", "context_qa.load_404", "context_qa.load_v2",
    "concisechoice", "custom", "explainchoice", "gpteacher", "jeopardy", "oasst", "summarizetldr", "tokenized",
]  # fmt: skip


class DatasetConfig(ConversationConfig, SourceConfig):
    """One data set: its source, and the format of its rows."""

    type: FormatName = setting("Format of the rows; `auto` tells it by their columns.", "chat_template")
    field: str = setting("Column that holds the text (completion).", "text")
    format_function: str | None = setting(
        "Function that makes examples of rows (custom): `package.module:function`, `file.py:function`, or the name of "
        "a plug-in's format.",
        None,
        min_length=1,
    )


class DataSection(Section):
    """The data sets of a run."""

    datasets: tuple[DatasetConfig, ...] = setting("Data sets to train on.", min_length=1)
    test_datasets: tuple[DatasetConfig, ...] = setting("Data sets to evaluate on.", ())
    val_set_size: float = setting(
        "Part of the training rows held out for evaluation: a fraction below 1, or a number of rows.",
        0.0,
        ge=0,
    )
    dataset_prepared_path: str = setting(
        "Folder, here or in a store (`s3://`, `gs://`, `hf://datasets/`), that keeps tokenised data, one subfolder per "
        "fingerprint.",
        "last_run_prepared",
    )
    push_dataset_to_hub: str | None = setting(
        "Data set of the hub (`owner/name`) that prepared data are uploaded to as well, and taken from when it has "
        "them; made private if there is none.",
        None,
        pattern=r"^[\w.-]+/[\w.-]+$",
    )
    dataset_num_proc: int | None = setting(
        "Processes that tokenise and mask; without it one for each core, or a single one for small data.", None, ge=1
    )
    shuffle_merged_datasets: bool = setting("Shuffle the rows of all data sets together.", True)
    on_bad_row: Literal["quarantine", "error"] = setting(
        "Set a bad row aside with its reason, or stop at it.", "quarantine"
    )


class MaskSection(Section):
    """The chat template, and which tokens of its output are trained."""

    chat_template: TemplateName = setting(
        "The tokenizer's own template, a named one, the one in `chat_template_jinja` (`jinja`), or "
        "`tokenizer_default_fallback_NAME`: the tokenizer's own, else the named one.",
        "tokenizer_default",
    )
    chat_template_jinja: str | None = setting("Template text, or the path of a .jinja file.", None)
    chat_template_kwargs: dict[str, bool | int | float | str] = setting(
        "Values handed to the template, such as `enable_thinking: false`.", {}
    )
    train_on_inputs: bool = setting("Train on every token, prompts included.", False)
    train_on_eos: TrainOnEos = setting(
        "Stop tokens that are trained: of all turns, of trained turns, of the last trained turn, or none.", "turn"
    )
    eot_tokens: tuple[str, ...] = setting(
        "Further tokens that end a turn; those that the template puts after an answer are found by themselves.", ()
    )
    train_on_eot: TrainOnEos | None = setting(
        "The same for stop tokens other than the tokenizer's eos token; without it as `train_on_eos`.", None
    )
    roles_to_train: tuple[str, ...] = Field(default=("assistant",), description="Roles whose messages are trained.")
    mask_history: bool = setting("Train the last trained turn of a conversation alone.", False)
    train_on_reasoning: bool = setting("Train the reasoning of trained turns, where it is a field of its own.", True)
    expand_turns: bool = setting(
        "Where the template shows earlier turns otherwise than it did when they were last (reasoning removed), make a "
        "row of each trained turn.",
        False,
    )
    special_tokens_in_content: Literal["error", "text", "allow"] = setting(
        "A special token written out inside a message: set the row aside, encode it as the text that it is, or let it "
        "become that token.",
        "error",
    )
