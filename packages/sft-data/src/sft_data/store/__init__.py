"""Store: samples on disk, and the fingerprint that names them."""

from sft_data.store.fingerprint import fingerprint
from sft_data.store.prepared_folder import read_manifest, write_prepared
from sft_data.store.samples import SampleStore, write_samples

__all__ = ["SampleStore", "fingerprint", "read_manifest", "write_prepared", "write_samples"]
