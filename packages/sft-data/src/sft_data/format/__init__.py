"""Format: a row to an example. One function per format, all with the same signature."""

from collections.abc import Callable

from sft_data.format.alpaca import INSTRUCTIONS
from sft_data.format.chat import chat_template
from sft_data.format.completion import completion
from sft_data.format.custom import custom, function_digest, load_function
from sft_data.format.input_output import input_output
from sft_data.format.tokenized import tokenized
from sft_data.row import Row
from sft_schema.config import DatasetConfig
from sft_schema.record import Example

Format = Callable[[Row, DatasetConfig], Example]

FORMATS: dict[str, Format] = {
    "chat_template": chat_template,
    "completion": completion,
    "custom": custom,
    "input_output": input_output,
    "tokenized": tokenized,
    **INSTRUCTIONS,
}

__all__ = ["FORMATS", "Format", "function_digest", "load_function"]
