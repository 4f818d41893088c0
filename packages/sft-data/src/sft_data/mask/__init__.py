"""Mask: a rendered and encoded example to labels."""

from sft_data.mask.labels import label_tokens, refuse_special_in_content, trained_region_of
from sft_data.mask.markers import TurnMarkers, find_markers
from sft_data.mask.policy import MaskPolicy
from sft_data.mask.segments import segment_regions
from sft_data.mask.turns import turn_regions

__all__ = [
    "MaskPolicy",
    "TurnMarkers",
    "find_markers",
    "label_tokens",
    "refuse_special_in_content",
    "segment_regions",
    "trained_region_of",
    "turn_regions",
]
