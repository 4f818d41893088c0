"""Mask: a rendered and encoded example to labels."""

from sft_data.mask.expand import expand_turns
from sft_data.mask.increment import Probe, find_disagreement, find_increments
from sft_data.mask.labels import (
    label_tokens,
    refuse_special_in_content,
    special_in_content,
    trained_region_of,
    weigh_tokens,
)
from sft_data.mask.markers import PLAIN_CHAT, TurnMarkers, find_markers
from sft_data.mask.pictures import ignore_pictures
from sft_data.mask.policy import MaskPolicy
from sft_data.mask.proof import broken_promise, double_begin
from sft_data.mask.segments import segment_regions
from sft_data.mask.turns import turn_regions

__all__ = [
    "PLAIN_CHAT",
    "MaskPolicy",
    "Probe",
    "TurnMarkers",
    "broken_promise",
    "double_begin",
    "expand_turns",
    "find_disagreement",
    "find_increments",
    "find_markers",
    "ignore_pictures",
    "label_tokens",
    "refuse_special_in_content",
    "segment_regions",
    "special_in_content",
    "trained_region_of",
    "turn_regions",
    "weigh_tokens",
]
