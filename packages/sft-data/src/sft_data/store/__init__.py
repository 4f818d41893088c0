"""Store: samples on disk, and the fingerprint that names them."""

from sft_data.store.fingerprint import fingerprint
from sft_data.store.pictured import PicturedStore, pictured_file
from sft_data.store.prepared_folder import read_manifest, write_prepared
from sft_data.store.samples import SampleStore, write_samples
from sft_data.store.shared import fetch_prepared, local_folder, publish_prepared

__all__ = [
    "PicturedStore",
    "SampleStore",
    "fetch_prepared",
    "fingerprint",
    "local_folder",
    "pictured_file",
    "publish_prepared",
    "read_manifest",
    "write_prepared",
    "write_samples",
]
