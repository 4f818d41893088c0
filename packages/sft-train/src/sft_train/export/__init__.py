"""A trained adapter as a whole model: merged shard by shard, and compared with what was trained."""

from sft_train.export.adapter import Adapter, read_adapter
from sft_train.export.base import BaseFiles, read_base
from sft_train.export.merge import Merged, merge_adapter
from sft_train.export.sharded import MergedShards, merge_shards
from sft_train.export.source import adapter_run
from sft_train.export.verify import Verification, verify_merge

__all__ = [
    "Adapter",
    "BaseFiles",
    "Merged",
    "MergedShards",
    "Verification",
    "adapter_run",
    "merge_adapter",
    "merge_shards",
    "read_adapter",
    "read_base",
    "verify_merge",
]
