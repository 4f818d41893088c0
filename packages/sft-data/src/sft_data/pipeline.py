"""The arrows of one row: row -> example -> rendered -> encoded -> labels."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sft_data.chat import Chat, load_chat, require_agreement
from sft_data.encoding import Encoded
from sft_data.format import FORMATS, load_function
from sft_data.literal import LiteralEncoder
from sft_data.mask import (
    MaskPolicy,
    Probe,
    broken_promise,
    double_begin,
    expand_turns,
    ignore_pictures,
    label_tokens,
    refuse_special_in_content,
    segment_regions,
    turn_regions,
    weigh_tokens,
)
from sft_data.pictured import Pictures, without_origins
from sft_data.render import render_segments
from sft_data.row import Row, RowError
from sft_data.templates import choose_template
from sft_data.tokenizer import TextTokenizer
from sft_schema import IGNORE_INDEX, DataError, SftConfig
from sft_schema.config import DatasetConfig
from sft_schema.record import Conversation, Example, Region, Rendered, Segments, Span, TokenizedSample, Tokens

_MESSAGE = " message "
_PART_OF_ROW = re.compile(r"( message \d+)?( tokens \d+-\d+)?$")
"""What `expand_turns` and `excess_length_strategy: split` add to a row's place."""
_CHECKED_ALL = 20
_CHECKED_EVERY = 500
"""The second way to find turns takes several renders: it is asked for the first rows, and for one in so many later."""


@dataclass(frozen=True, slots=True)
class Masked:
    """A row with everything that was found out about it, as `inspect` shows it.

    Attributes:
        rendered: text and spans.
        encoded: tokens and their characters.
        regions: trained characters.
        labels: int32 `[n]`.
        weights: float32 `[n]`, or None when every trained token counts 1.
    """

    rendered: Rendered
    encoded: Encoded
    regions: tuple[Region, ...]
    labels: NDArray[np.int32]
    weights: NDArray[np.float32] | None = None


class Pipeline:
    """The arrows with what they share: tokenizer, compiled templates, their turn markers.

    Attributes:
        tokenizer: as given, with the template's own stop tokens in front of `stop_ids`.
        pictures: the processor of pictures, if there is one.

    Raises:
        DataError: a chat data set without a template, or a template that cannot be used.
    """

    def __init__(self, cfg: SftConfig, tokenizer: TextTokenizer) -> None:
        self._cfg = cfg
        self.pictures = Pictures(cfg, tokenizer)
        tokenizer = self.pictures.tokenizer
        self._chats: dict[tuple[str | None, str | None], Chat] = {}
        self._literal = LiteralEncoder(tokenizer.backend, tokenizer.special_ids)
        self._texts: dict[int, str] = {}
        self._policies: dict[int, tuple[DatasetConfig, MaskPolicy]] = {}
        self.tokenizer = tokenizer
        for dataset in (*cfg.datasets, *cfg.test_datasets):
            if dataset.format_function is not None:
                load_function(dataset.format_function)  # a missing one is named before a row is read
            if self._may_be_chat(dataset) and _key(dataset) not in self._chats:
                self._chats[_key(dataset)] = load_chat(cfg, dataset, tokenizer)
        if self._chats:
            stops = (each for chat in self._chats.values() for each in chat.markers.stop_ids)
            self.tokenizer = replace(tokenizer, stop_ids=tuple(dict.fromkeys(stops)))

    def _may_be_chat(self, dataset: DatasetConfig) -> bool:
        """Whether its rows become conversations; those of a custom format may, if there is a template for them."""
        if dataset.type == "custom":
            return choose_template(self._cfg, dataset, self.tokenizer.own_template) is not None
        return dataset.type == "chat_template"

    @property
    def sequence_len(self) -> int:
        """Longest sample, in tokens."""
        return self._cfg.sequence_len

    @property
    def templates(self) -> tuple[str, ...]:
        """Texts of the chat templates in use."""
        return tuple(chat.template.text for chat in self._chats.values())

    def chat(self, dataset: DatasetConfig) -> Chat:
        """The chat template of a data set.

        Raises:
            DataError: there is none.
        """
        found = self._chats.get(_key(dataset))
        if found is None:
            fix = "set `chat_template: chatml`, or another one that suits the model"
            raise DataError("there is no chat template for its conversations", where=dataset.path, fix=fix)
        return found

    def render(self, row: Row, dataset: DatasetConfig) -> tuple[Example, Rendered]:
        """The row's example and text, with its pictures in place; raises RowError."""
        example = FORMATS[dataset.type](row, dataset)
        return example, self.pictures.placed(example, self._rendered(example, dataset), dataset)

    def _rendered(self, example: Example, dataset: DatasetConfig) -> Rendered:
        if isinstance(example, Tokens):
            text = "".join(self._pieces(example))
            return Rendered(text, (Span(0, len(text), 0, "input_ids", 0),), ("text",))
        if isinstance(example, Segments):
            special = self.tokenizer.special_tokens
            if example.complete:
                return render_segments(example, bos="", eos="")
            bos = special["bos_token"] if self.tokenizer.adds_bos else ""
            return render_segments(example, bos=bos, eos=special.get("eos_token", ""))
        return self.chat(dataset).render(example)

    def examples(self, row: Row, dataset: DatasetConfig) -> list[tuple[Row, Example, Rendered]]:
        """The row's example and text, or with `expand_turns` those of each trained turn; raises RowError."""
        example, rendered = self.render(row, dataset)
        expanding = self._cfg.expand_turns if dataset.expand_turns is None else dataset.expand_turns
        if not expanding or not isinstance(example, Conversation):
            return [(row, example, rendered)]
        chat = self.chat(dataset)
        turns = expand_turns(self._probe(chat), example, self._policy(dataset))
        if len(turns) == 1:
            return [(row, example, rendered)]
        return [(_turn_of(row, each), each, chat.render(each)) for each in turns]

    def _probe(self, chat: Chat) -> Probe:
        return Probe(chat.render, lambda text: self.tokenizer.encode_batch([text])[0], chat.stops)

    def mask(
        self, example: Example, rendered: Rendered, encoded: Encoded, dataset: DatasetConfig, *, number: int = 0
    ) -> Masked:
        """Trained regions and labels of a rendered and encoded example.

        Args:
            example: what the format made of the row.
            rendered: its text.
            encoded: its tokens.
            dataset: its data set.
            number: of the row in its data set; the more costly proof is given for the first ones, and now and then.

        Raises:
            RowError: the row cannot be masked for sure.
            DataError: the mask breaks a promise, or the second way to find turns says otherwise.
        """
        if isinstance(example, Tokens):
            return self._given(example, rendered)
        policy = self._policy(dataset)
        special = self.tokenizer.special_ids
        if isinstance(example, Segments) and example.complete:
            pass  # its pieces hold the special tokens that they are meant to have
        elif policy.special_in_content == "error":
            refuse_special_in_content(rendered, encoded, special)
        elif policy.special_in_content == "text":
            encoded = self._literal.encode(rendered, encoded)
        if isinstance(example, Segments):
            regions = segment_regions(example, rendered, policy)
            return self._labelled(rendered, encoded, regions)
        chat = self.chat(dataset)
        regions = turn_regions(example, rendered, encoded, chat.markers, policy)
        masked = self._labelled(rendered, encoded, regions)
        self._prove(example, masked, chat, number)
        return masked

    def _labelled(self, rendered: Rendered, encoded: Encoded, regions: tuple[Region, ...]) -> Masked:
        special = self.tokenizer.special_ids
        labels, weights = label_tokens(encoded, regions, special), weigh_tokens(encoded, regions, special)
        if rendered.pictured is not None and rendered.pictured.spans:
            labels = ignore_pictures(encoded, rendered.pictured.spans, regions, labels)
            weights = None if weights is None else np.where(labels == IGNORE_INDEX, np.float32(0), weights)
        return Masked(rendered, encoded, regions, labels, weights)

    def _policy(self, dataset: DatasetConfig) -> MaskPolicy:
        """The data set's masking settings, made once; it is kept beside them, so its id stays its own."""
        if id(dataset) not in self._policies:
            self._policies[id(dataset)] = dataset, MaskPolicy.of(self._cfg, dataset)
        return self._policies[id(dataset)][1]

    def _pieces(self, tokens: Tokens) -> list[str]:
        """The text of each token by itself; raises RowError."""
        backend = self.tokenizer.backend
        for token in set(tokens.input_ids) - self._texts.keys():
            if token < 0 or backend.id_to_token(token) is None:
                raise RowError("unknown_token", f"the tokenizer has no token {token}")
            self._texts[token] = backend.decode([token], skip_special_tokens=False)
        return [self._texts[token] for token in tokens.input_ids]

    def _given(self, tokens: Tokens, rendered: Rendered) -> Masked:
        """Tokens with the labels that came with them; raises RowError."""
        labels = np.array(tokens.labels, dtype=np.int32)
        if not (labels[1:] != IGNORE_INDEX).any():
            raise RowError("nothing_to_train", "no token of the row is trained")
        ends = np.cumsum([len(piece) for piece in self._pieces(tokens)], dtype=np.int64)
        starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1]])
        encoded = Encoded(np.array(tokens.input_ids, dtype=np.int32), starts, ends)
        weights = np.array(tokens.weights, dtype=np.float32) if tokens.weights else None
        return Masked(rendered, encoded, (), labels, weights)

    def _prove(self, example: Conversation, masked: Masked, chat: Chat, number: int) -> None:
        """The promises on every row, the second way to find turns on the first rows and now and then later."""
        rendered, encoded = masked.rendered, masked.encoded
        broken = broken_promise(rendered, encoded, masked.regions, masked.labels, chat.markers)
        if broken is not None:
            raise DataError(f"{broken}, in {rendered.text[:200]!r}", where="mask", fix="report this template and row")
        bos = self.tokenizer.special_tokens.get("bos_token")
        if bos is not None and double_begin(rendered, encoded, self.tokenizer.backend.token_to_id(bos)):
            raise RowError("double_bos", f"the template writes {bos!r} more than once")
        if number < _CHECKED_ALL or number % _CHECKED_EVERY == 0:
            if rendered.pictured is not None:  # the second way knows pictures by their placeholders alone
                rendered = rendered.pictured.before
                encoded = self.tokenizer.encode_batch([rendered.text])[0]
            require_agreement(self._probe(chat), example, rendered, encoded, chat.markers)

    def masked_row(self, row: Row, dataset: DatasetConfig) -> Masked:
        """All arrows for a single row; raises RowError."""
        example, rendered = self.render(row, dataset)
        return self.masked(example, rendered, dataset)

    def masked(self, example: Example, rendered: Rendered, dataset: DatasetConfig) -> Masked:
        """The arrows after rendering for a single example; raises RowError."""
        return self.mask(example, rendered, self.tokenizer.encode_batch([rendered.text])[0], dataset)

    def sample(self, row: Row, masked: Masked) -> TokenizedSample:
        """What is kept of a masked row."""
        pictured = without_origins(masked.rendered.pictured)
        return TokenizedSample(masked.encoded.ids, masked.labels, row.origin, masked.weights, pictured)

    def prompt(self, conversation: Conversation, dataset: DatasetConfig) -> str:
        """The text that the model gets before it answers; raises RowError."""
        return self.chat(dataset).render(conversation, True).text


def _turn_of(row: Row, turn: Conversation) -> Row:
    place = f"{row.origin.place}{_MESSAGE}{len(turn.messages) - 1}"
    return replace(row, origin=replace(row.origin, place=place))


def whole_place(place: str) -> str:
    """Place of the row that a turn's row, or a piece of it, was made of; or of the row itself."""
    return _PART_OF_ROW.sub("", place)


def _key(dataset: DatasetConfig) -> tuple[str | None, str | None]:
    return dataset.chat_template, dataset.chat_template_jinja
