r"""The placeholder of each picture becomes what the model's processor writes for it.

USER: <image>\nWhat?         span 6..13 of the text, one picture of 24 x 24 pixels
USER: <image><image>...       replaced by 16 times `<image>`: what follows moves by 105 characters
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

from sft_data.row import RowError
from sft_data.vision.processor import REFUSALS, PictureProcessor
from sft_schema import DataError
from sft_schema.record import Picture, Pictured, Rendered


class _Replaced(NamedTuple):
    start: int
    end: int
    text: str


def expand(
    rendered: Rendered,
    pictures: Sequence[tuple[Picture, Any]],
    processor: PictureProcessor,
    encode: Callable[[str], list[int]],
) -> Rendered:
    """The text with every picture's tokens written out, and its spans moved accordingly.

    Args:
        rendered: with one placeholder per picture.
        pictures: each with the decoded picture, in order.
        processor: see there.
        encode: text to ids, as the run's tokenizer does it.

    Raises:
        RowError: `picture_token_in_text` for a message that writes such a placeholder itself, `picture_count` when
            the template writes more or fewer of them than there are pictures, `picture_refused` by the processor.
        DataError: the processor gives other ids than the tokenizer.
    """
    _refuse_typed(rendered, processor)
    if not pictures:
        return replace(rendered, pictured=Pictured(rendered))
    try:
        output: Any = processor.backend(
            text=[rendered.text],
            images=[[each for _, each in pictures]],
            add_special_tokens=False,
            return_text_replacement_offsets=True,
        )
    except REFUSALS as error:
        raise RowError("picture_refused", f"the processor: {type(error).__name__}: {error}") from None
    found = _replacements(rendered.text, output, processor)
    if len(found) != len(pictures):
        detail = f"the chat template writes {len(found)} placeholders for {len(pictures)} pictures"
        raise RowError("picture_count", detail)
    expanded = _replaced(rendered, found, tuple(picture for picture, _ in pictures))
    _require_same_ids(encode(expanded.text), list(map(int, output["input_ids"][0])), expanded.text)
    return expanded


def _refuse_typed(rendered: Rendered, processor: PictureProcessor) -> None:
    for span in rendered.spans:
        text = rendered.text[span.start : span.end]
        typed = next((token for token in processor.media_tokens if token in text), None)
        if typed is not None:
            detail = f"{typed!r} is written out in {span.field} of message {span.message} and would stand for a picture"
            raise RowError("picture_token_in_text", detail)


def _replacements(text: str, output: Any, processor: PictureProcessor) -> list[_Replaced]:
    """What stands for each picture, in order; of a processor that replaces nothing (Mllama's) the placeholders."""
    given: Any = output.get("text_replacement_offsets")
    if given is None:
        token = processor.image_token
        return [_Replaced(match.start(), match.end(), token) for match in re.finditer(re.escape(token), text)]
    rows = cast("list[dict[str, Any]]", given[0])
    found = [_Replaced(row["span"][0], row["span"][1], row["replacement"]) for row in rows]
    return sorted(found, key=lambda each: each.start)


def _replaced(rendered: Rendered, found: Sequence[_Replaced], pictures: tuple[Picture, ...]) -> Rendered:
    pieces: list[str] = []
    spans: list[tuple[int, int]] = []
    done = length = 0
    for each in found:
        start = length + each.start - done
        spans.append((start, start + len(each.text)))
        pieces += [rendered.text[done : each.start], each.text]
        done, length = each.end, start + len(each.text)

    def moved(position: int) -> int:
        return position + sum(len(each.text) - (each.end - each.start) for each in found if each.end <= position)

    return replace(
        rendered,
        text="".join([*pieces, rendered.text[done:]]),
        spans=tuple(span._replace(start=moved(span.start), end=moved(span.end)) for span in rendered.spans),
        generations=tuple((moved(start), moved(end)) for start, end in rendered.generations),
        pictured=Pictured(rendered, pictures, tuple(spans)),
    )


def _require_same_ids(ours: list[int], theirs: list[int], text: str) -> None:
    if ours == theirs:
        return
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    message = (
        f"the processor gives other ids than tokenizer.json for {text[:80]!r}: {theirs[at : at + 5]} for "
        f"{ours[at : at + 5]} from token {at} on"
    )
    raise DataError(message, where="processor", fix="use the tokenizer and the processor of the same model")
