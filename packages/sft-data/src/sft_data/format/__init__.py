"""Format: a row to an example. One function per format, all with the same signature."""

from collections.abc import Callable

from sft_data.format.alpaca import alpaca
from sft_data.format.chat import chat_template
from sft_data.format.completion import completion
from sft_data.row import Row
from sft_schema.config import DatasetConfig, FormatName
from sft_schema.record import Example

Format = Callable[[Row, DatasetConfig], Example]

FORMATS: dict[FormatName, Format] = {
    "chat_template": chat_template,
    "alpaca": alpaca,
    "completion": completion,
}

__all__ = ["FORMATS", "Format"]
