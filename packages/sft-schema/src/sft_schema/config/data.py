"""Where the rows come from and how they are read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sft_schema.config.section import Section, setting

TrainOnEos = Literal["all", "turn", "last", "none"]
FormatName = Literal["chat_template", "alpaca", "completion"]


class DatasetConfig(Section):
    """One data set: a file, a folder or a hub id, and the format of its rows."""

    path: str = setting("Local file or folder, or hub id.", min_length=1)
    type: FormatName = setting("Format of the rows.", "chat_template")
    ds_type: Literal["json", "parquet"] | None = setting("Kind of the file, when its ending does not say.", None)
    name: str | None = setting("Configuration of a hub data set.", None)
    split: str = setting("Split of a hub data set or folder.", "train")
    revision: str | None = setting("Branch, tag or commit of a hub data set.", None)
    field_messages: str = setting("Column that holds the messages (chat_template).", "messages")
    field_tools: str = setting("Column that holds the tools (chat_template).", "tools")
    field: str = setting("Column that holds the text (completion).", "text")
    message_property_mappings: dict[str, str] = setting(
        "Message property to key of the row's message, such as `role: from`.", {}
    )
    train_on_inputs: bool | None = setting("Overrides the top-level `train_on_inputs`.", None)
    train_on_eos: TrainOnEos | None = setting("Overrides the top-level `train_on_eos`.", None)
    roles_to_train: tuple[str, ...] | None = setting("Overrides the top-level `roles_to_train`.", None)


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
        "Folder that keeps tokenised data, one subfolder per fingerprint.", "last_run_prepared"
    )
    shuffle_merged_datasets: bool = setting("Shuffle the rows of all data sets together.", True)
    on_bad_row: Literal["quarantine", "error"] = setting(
        "Set a bad row aside with its reason, or stop at it.", "quarantine"
    )


class MaskSection(Section):
    """The chat template, and which tokens of its output are trained."""

    chat_template: Literal["tokenizer_default", "chatml", "jinja"] = setting(
        "The tokenizer's own template, a named one, or the one in `chat_template_jinja`.",
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
    roles_to_train: tuple[str, ...] = Field(default=("assistant",), description="Roles whose messages are trained.")
    special_tokens_in_content: Literal["error", "allow"] = setting(
        "A special token written out inside a message: set the row aside, or let it become that token.",
        "error",
    )
