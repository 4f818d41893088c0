"""Store: samples on disk, and the fingerprint that names them."""

from sft_data.store.fingerprint import fingerprint
from sft_data.store.lock import give_way, locked
from sft_data.store.prepared_folder import finish, read_manifest, work_folder, write_quarantine
from sft_data.store.samples import SampleStore, write_index
from sft_data.store.shard import (
    ShardInfo,
    ShardRow,
    file_digest,
    open_shard,
    read_digests,
    read_numbers,
    read_shard_info,
    shard_name,
    write_shard,
)
from sft_data.store.shared import fetch_prepared, lacking, local_folder, publish_prepared, stores_of

__all__ = [
    "SampleStore",
    "ShardInfo",
    "ShardRow",
    "fetch_prepared",
    "file_digest",
    "fingerprint",
    "finish",
    "give_way",
    "lacking",
    "local_folder",
    "locked",
    "open_shard",
    "publish_prepared",
    "read_digests",
    "read_manifest",
    "read_numbers",
    "read_shard_info",
    "shard_name",
    "stores_of",
    "work_folder",
    "write_index",
    "write_quarantine",
    "write_shard",
]
