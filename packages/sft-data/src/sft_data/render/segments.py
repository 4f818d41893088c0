"""Text without a chat template."""

from __future__ import annotations

from sft_data.render.template import require_text
from sft_schema.record import Rendered, Segments, Span


def render_segments(example: Segments, *, bos: str, eos: str) -> Rendered:
    r"""The pieces one after the other, between the tokens that begin and end a text (empty for none).

        <s>Below is an instruction...### Response:\n42</s>
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           segment 0                             segment 1, then the end token

    Raises:
        RowError: `not_text` for half a surrogate pair.
    """
    text, spans = bos, list[Span]()
    for index, segment in enumerate(example.segments):
        spans.append(Span(len(text), len(text) + len(segment.text), index, segment.field, 0))
        text += segment.text
    require_text(text)
    return Rendered(text + eos, tuple(spans), tuple(segment.role for segment in example.segments))
