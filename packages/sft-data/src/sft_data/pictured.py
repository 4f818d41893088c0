"""Pictures in the arrows of one row: what the row names is read, and takes its place in the rendered text."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from sft_data.row import RowError
from sft_data.templates import choose_template
from sft_data.tokenizer import TextTokenizer
from sft_data.vision import PictureProcessor, PictureReader, expand, folder_of
from sft_schema import SftConfig
from sft_schema.config import DatasetConfig
from sft_schema.record import Conversation, Example, Pictured, Rendered, Tokens

_VERSIONED = ("transformers", "pillow", "torchvision")


class Pictures:
    """What `processor_type` asks for; without it, rows with pictures are refused.

    Args:
        cfg: the config.
        tokenizer: the run's.

    Attributes:
        processor: the model's processor, or None.
        tokenizer: the given one, with the processor's chat template where that has one.

    Raises:
        DataError: the processor cannot be loaded.
    """

    def __init__(self, cfg: SftConfig, tokenizer: TextTokenizer) -> None:
        self.processor = None if cfg.processor_type is None else PictureProcessor.load(cfg)
        self._reader = PictureReader(cfg, Path(cfg.dataset_prepared_path) / "pictures")
        template = self.processor and self.processor.chat_template
        if template is not None:
            chosen = choose_template(cfg, None, template)
            tokenizer = replace(tokenizer, own_template=template, chat_template=chosen)
        self.tokenizer = tokenizer

    def placed(self, example: Example, rendered: Rendered, dataset: DatasetConfig) -> Rendered:
        """The text with the tokens of the example's pictures in it.

        Raises:
            RowError: there are pictures and no processor, or they cannot be read or placed; see `expand`.
        """
        sources = example.pictures if isinstance(example, Conversation) else ()
        if self.processor is None:
            if sources:
                detail = f"{sources[0].what} is a picture, and `processor_type: AutoProcessor` is not set"
                raise RowError("not_text_part", detail)
            return rendered
        if isinstance(example, Tokens):
            raise RowError("tokens_with_processor", "a row of tokens has no text for the processor of pictures")
        folder = folder_of(dataset)
        found = [self._reader.read(source, folder) for source in sources]
        return expand(rendered, found, self.processor, self.tokenizer.encode)

    def versions(self) -> dict[str, str]:
        """What decides the tokens of pictures, for the fingerprint; empty without a processor."""
        if self.processor is None:
            return {}
        return {"processor": self.processor.digest(), **{name: version(name) for name in _VERSIONED}}


def without_origins(pictured: Pictured | None) -> Pictured | None:
    """The same without the spans of the text, which a sample in memory does not need."""
    if pictured is None:
        return None
    return replace(pictured, before=Rendered(pictured.before.text, (), ()), spans=())
