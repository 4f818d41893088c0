"""Attention: what each backend can do, and which models cannot share rows between samples."""

from sft_schema.attention.backend import AttentionBackend, Determinism, Isolation
from sft_schema.attention.leak import LEAKS, PackingLeak, packing_leak, sharing_setting
from sft_schema.attention.needs import AttentionNeeds, needs_of, unmet
from sft_schema.attention.table import ALL_BACKENDS, BACKENDS, HUB_KERNEL, find_backend

__all__ = [
    "ALL_BACKENDS",
    "BACKENDS",
    "HUB_KERNEL",
    "LEAKS",
    "AttentionBackend",
    "AttentionNeeds",
    "Determinism",
    "Isolation",
    "PackingLeak",
    "find_backend",
    "needs_of",
    "packing_leak",
    "sharing_setting",
    "unmet",
]
