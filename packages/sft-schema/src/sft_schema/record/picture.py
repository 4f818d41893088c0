r"""Pictures of a conversation, and where they stand in its text.

before     USER: <image>\nWhat is this?            one placeholder per picture, as the chat template writes it
text       USER: <image><image>...\nWhat is this?  as many as the model's processor makes of the picture
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sft_schema.record.rendered import Rendered


@dataclass(frozen=True, slots=True)
class PictureSource:
    """A picture as a row names it.

    Attributes:
        value: a path, an address (`https://`, `data:`), or the bytes of an image file.
        what: where it stands in the row, for messages.
    """

    value: str | bytes
    what: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in a file on this machine.

    Attributes:
        path: absolute path of the image file.
        digest: 32 hex digits of BLAKE2b over the file, by which a file that changed is found out.
    """

    path: str
    digest: str


@dataclass(frozen=True, slots=True)
class Pictured:
    """What a rendered text with pictures was made of.

    Attributes:
        before: the text with one placeholder per picture.
        pictures: in the order of the placeholders; empty for a conversation without pictures.
        spans: characters of the text that stand for a picture, as (start, end), in order.
    """

    before: Rendered
    pictures: tuple[Picture, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()
