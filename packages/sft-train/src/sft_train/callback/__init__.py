"""What happens beside training: metrics, checkpoints' records, the observer."""

from sft_train.callback.begin import AtBegin
from sft_train.callback.checkpoint import CheckpointRecord
from sft_train.callback.choose import run_callbacks
from sft_train.callback.health import HealthMonitor
from sft_train.callback.interrupt import StopRequest
from sft_train.callback.metrics import MetricsFile, read_metrics
from sft_train.callback.observe import ObserverBridge
from sft_train.callback.service import ServiceReport, services

__all__ = [
    "AtBegin",
    "CheckpointRecord",
    "HealthMonitor",
    "MetricsFile",
    "ObserverBridge",
    "ServiceReport",
    "StopRequest",
    "read_metrics",
    "run_callbacks",
    "services",
]
