"""Source: a data set of the config to rows."""

from sft_data.source.content import fingerprint_source
from sft_data.source.count import count_rows
from sft_data.source.read import read_rows

__all__ = ["count_rows", "fingerprint_source", "read_rows"]
