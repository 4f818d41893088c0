"""The trained regions of a text without a chat template."""

from __future__ import annotations

from sft_data.mask.choice import whole_text
from sft_data.mask.policy import MaskPolicy
from sft_schema.record import Region, Rendered, Segments


def segment_regions(example: Segments, rendered: Rendered, policy: MaskPolicy) -> tuple[Region, ...]:
    """Trained segments, and the end token after the last one.

    The end token stands between the last segment and the end of the text; it belongs to the last segment.
    """
    if policy.train_on_inputs:
        return whole_text(rendered, [segment.weight for segment in example.segments])
    regions = [
        Region(span.start, span.end, index, "turn", segment.weight)
        for index, (segment, span) in enumerate(zip(example.segments, rendered.spans, strict=True))
        if segment.train
    ]
    last = len(example.segments) - 1
    end = rendered.spans[last].end
    wanted = policy.train_on_eos in ("all", "last") or (policy.train_on_eos == "turn" and example.segments[last].train)
    if wanted and end < len(rendered.text):
        weight = example.segments[last].weight
        regions.append(Region(end, len(rendered.text), last, "end_of_turn", weight))
    return tuple(regions)
