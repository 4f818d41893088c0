"""Samples whose tokens are the same."""

from __future__ import annotations

import hashlib

from sft_schema.record import TokenizedSample


def digest_of(sample: TokenizedSample, *, labels: bool = True) -> bytes:
    """16 bytes that stand for the tokens, and for which of them are trained and how much they count."""
    digest = hashlib.blake2b(sample.input_ids.tobytes(), digest_size=16)
    if labels:
        digest.update(sample.labels.tobytes())
        if sample.weights is not None:
            digest.update(sample.weights.tobytes())
    return digest.digest()


class SeenSamples:
    """Remembers samples by their digest: about 100 bytes for each."""

    def __init__(self) -> None:
        self._place: dict[bytes, str] = {}

    def twin(self, sample: TokenizedSample) -> str | None:
        """Where the same sample stands that came before; None for a new one, which is remembered."""
        digest = digest_of(sample)
        if digest in self._place:
            return self._place[digest]
        self._place[digest] = sample.origin.place
        return None
