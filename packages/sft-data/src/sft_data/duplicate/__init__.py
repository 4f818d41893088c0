"""Duplicates: samples of the same tokens, and rows of nearly the same words."""

from sft_data.duplicate.exact import digest_of, first_equal, first_in
from sft_data.duplicate.near import SeenWords, minima_of

__all__ = ["SeenWords", "digest_of", "first_equal", "first_in", "minima_of"]
