"""The arrows of one row: row -> example -> rendered -> encoded -> labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sft_data.encoding import Encoded
from sft_data.format import FORMATS
from sft_data.mask import (
    MaskPolicy,
    TurnMarkers,
    find_markers,
    label_tokens,
    refuse_special_in_content,
    segment_regions,
    turn_regions,
)
from sft_data.render import ChatTemplate, render_segments
from sft_data.row import Row, RowError
from sft_data.tokenizer import TextTokenizer
from sft_schema import DataError, SftConfig
from sft_schema.config import DatasetConfig
from sft_schema.record import Conversation, Example, Region, Rendered, Segments, TokenizedSample


@dataclass(frozen=True, slots=True)
class Masked:
    """A row with everything that was found out about it, as `inspect` shows it.

    Attributes:
        rendered: text and spans.
        encoded: tokens and their characters.
        regions: trained characters.
        labels: int32 `[n]`.
    """

    rendered: Rendered
    encoded: Encoded
    regions: tuple[Region, ...]
    labels: NDArray[np.int32]


class Pipeline:
    """The arrows with what they share: tokenizer, compiled template, its turn markers.

    Attributes:
        tokenizer: as given, with the template's own stop tokens in front of `stop_ids`.

    Raises:
        DataError: a chat data set without a template, or a template that cannot be used.
    """

    def __init__(self, cfg: SftConfig, tokenizer: TextTokenizer) -> None:
        self._cfg = cfg
        self._template: ChatTemplate | None = None
        self._markers = TurnMarkers("", "", (), tokenizer.stop_ids)
        self.tokenizer = tokenizer
        if any(each.type == "chat_template" for each in (*cfg.datasets, *cfg.test_datasets)):
            if tokenizer.chat_template is None:
                fix = "set `chat_template: chatml`, or `chat_template: jinja` with `chat_template_jinja`"
                raise DataError("the tokenizer has no chat template", where=str(tokenizer.folder), fix=fix)
            arguments = dict(cfg.chat_template_kwargs)
            self._template = ChatTemplate(tokenizer.chat_template, tokenizer.special_tokens, arguments)
            self._markers = self._find_markers(self._template)
            self.tokenizer = replace(tokenizer, stop_ids=self._markers.stop_ids)

    def _find_markers(self, template: ChatTemplate) -> TurnMarkers:
        tokenizer = self.tokenizer
        try:
            return find_markers(
                lambda conversation, prompt: template.render(conversation, add_generation_prompt=prompt),
                lambda text: tokenizer.encode_batch([text])[0],
                tokenizer.special_ids,
                tokenizer.stop_ids,
            )
        except RowError as error:
            fix = "use a template that renders user and assistant messages in turn"
            raise DataError(f"refuses a plain conversation: {error.detail}", where="chat template", fix=fix) from None

    def render(self, row: Row, dataset: DatasetConfig) -> tuple[Example, Rendered]:
        """The row's example and text; raises RowError."""
        example = FORMATS[dataset.type](row, dataset)
        if isinstance(example, Segments):
            special = self.tokenizer.special_tokens
            bos = special["bos_token"] if self.tokenizer.adds_bos else ""
            return example, render_segments(example, bos=bos, eos=special.get("eos_token", ""))
        return example, self._chat.render(example)

    @property
    def _chat(self) -> ChatTemplate:
        if self._template is None:
            raise DataError("no chat template was loaded", where="pipeline", fix="list the data set in the config")
        return self._template

    def mask(self, example: Example, rendered: Rendered, encoded: Encoded, dataset: DatasetConfig) -> Masked:
        """Trained regions and labels of a rendered and encoded example; raises RowError."""
        policy = MaskPolicy.of(self._cfg, dataset)
        if not policy.allow_special:
            refuse_special_in_content(rendered, encoded, self.tokenizer.special_ids)
        if isinstance(example, Segments):
            regions = segment_regions(example, rendered, policy)
        else:
            regions = turn_regions(rendered, encoded, self._markers, policy)
        return Masked(rendered, encoded, regions, label_tokens(encoded, regions, self.tokenizer.special_ids))

    def masked_row(self, row: Row, dataset: DatasetConfig) -> Masked:
        """All arrows for a single row; raises RowError."""
        example, rendered = self.render(row, dataset)
        return self.mask(example, rendered, self.tokenizer.encode_batch([rendered.text])[0], dataset)

    def sample(self, row: Row, masked: Masked) -> TokenizedSample:
        """What is kept of a masked row."""
        return TokenizedSample(masked.encoded.ids, masked.labels, row.origin)

    def prompt(self, conversation: Conversation) -> str:
        """The text that the model gets before it answers; raises RowError."""
        return self._chat.render(conversation, add_generation_prompt=True).text
