"""What happens beside training: metrics, checkpoints' records, the observer."""

from sft_train.callback.checkpoint import CheckpointRecord
from sft_train.callback.choose import run_callbacks
from sft_train.callback.metrics import MetricsFile, read_metrics
from sft_train.callback.observe import ObserverBridge

__all__ = ["CheckpointRecord", "MetricsFile", "ObserverBridge", "read_metrics", "run_callbacks"]
