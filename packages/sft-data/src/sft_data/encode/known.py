"""Proofs that were given before: what is true of a tokenizer.json stays true."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

from sft_data.env import cache_folder

_JUDGES = ("sft-data", "tokenizers", "tiktoken")
"""Whose versions a proof holds for."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about a tokenizer.

    Attributes:
        measures: the lengths of its tokens are the offsets that `tokenizers` gives.
        unserved: why tiktoken cannot stand in for it, as a sentence without a subject; empty when it can.
        left_out: ids that tiktoken's vocabulary goes without.
    """

    measures: bool
    unserved: str = ""
    left_out: tuple[int, ...] = ()


def known_verdict(tokenizer: bytes, find_out: Callable[[], Verdict]) -> Verdict:
    """The verdict on a tokenizer that was kept by an earlier run, or the one that is found out now, and kept.

    Args:
        tokenizer: content of its tokenizer.json.
        find_out: gives the proof, which takes some seconds.
    """
    file = cache_folder() / "encoders" / f"{_key(tokenizer)}.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Verdict(bool(found["measures"]), str(found["unserved"]), tuple(map(int, found["left_out"])))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    verdict = find_out()
    unfinished = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps(asdict(verdict)), encoding="utf-8")
        unfinished.replace(file)
    except OSError:
        pass  # a home that cannot be written to: it is found out each time
    return verdict


def _key(tokenizer: bytes) -> str:
    versions = [f"{name} {_version(name)}" for name in _JUDGES]
    said = "\n".join([hashlib.sha256(tokenizer).hexdigest(), unicodedata.unidata_version, *versions])
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
