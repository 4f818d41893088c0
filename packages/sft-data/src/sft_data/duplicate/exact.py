"""Samples whose tokens are the same."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from sft_schema.record import TokenizedSample


def digest_of(sample: TokenizedSample, *, labels: bool = True) -> bytes:
    """16 bytes for the tokens and pictures, and for which of the tokens are trained and how much they count."""
    digest = hashlib.blake2b(sample.input_ids.tobytes(), digest_size=16)
    if labels:
        digest.update(sample.labels.tobytes())
        if sample.weights is not None:
            digest.update(sample.weights.tobytes())
    for picture in sample.pictured.pictures if sample.pictured else ():
        digest.update(picture.digest.encode())
    return digest.digest()


def first_equal(digests: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For each digest the index of the first one that equals it: int64 `[n]`.

    Args:
        digests: uint64 `[n, 2]`.
    """
    order = np.lexsort((digests[:, 1], digests[:, 0]))  # stable: equal ones stay in the order in which they came
    ordered = digests[order]
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[begins][np.cumsum(begins) - 1]
    return first


def first_in(digests: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For each digest the index of an equal one among those known, or -1: int64 `[n]`.

    Args:
        digests: uint64 `[n, 2]`.
        known: uint64 `[k, 2]`.
    """
    first = first_equal(np.concatenate([known, digests]))[len(known) :]
    return np.where(first < len(known), first, -1)
