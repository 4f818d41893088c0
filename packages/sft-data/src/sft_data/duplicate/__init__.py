"""Duplicates: samples of the same tokens, and rows of nearly the same words."""

from sft_data.duplicate.exact import digest_of
from sft_data.duplicate.seen import Duplicates

__all__ = ["Duplicates", "digest_of"]
