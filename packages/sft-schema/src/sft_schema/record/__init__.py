"""The nouns of the data path, one class each."""

from sft_schema.record.checkpoint import CheckpointManifest, StoredFile
from sft_schema.record.inspect import InspectedToken
from sft_schema.record.manifest import Manifest, SplitCounts
from sft_schema.record.message import Conversation, Example, Message, Segment, Segments, Tokens, TrainSpan
from sft_schema.record.pack import PackedBatch, PackedRow, PackPlan
from sft_schema.record.picture import Picture, Pictured, PictureSource
from sft_schema.record.rendered import Region, Rendered, Span
from sft_schema.record.summary import GeneratedAnswer, HealthFinding, RunSummary
from sft_schema.record.token import RowOrigin, TokenizedSample

__all__ = [
    "CheckpointManifest",
    "Conversation",
    "Example",
    "GeneratedAnswer",
    "HealthFinding",
    "InspectedToken",
    "Manifest",
    "Message",
    "PackPlan",
    "PackedBatch",
    "PackedRow",
    "Picture",
    "PictureSource",
    "Pictured",
    "Region",
    "Rendered",
    "RowOrigin",
    "RunSummary",
    "Segment",
    "Segments",
    "Span",
    "SplitCounts",
    "StoredFile",
    "TokenizedSample",
    "Tokens",
    "TrainSpan",
]
