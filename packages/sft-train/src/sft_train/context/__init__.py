"""Rows that several processes share (context parallelism): who reads which rows, and who computes which part."""

from sft_train.context.batches import ContextBatches
from sft_train.context.mesh import ContextMesh, check_context_size, context_mesh
from sft_train.context.proof import check_shared_rows

__all__ = ["ContextBatches", "ContextMesh", "check_context_size", "check_shared_rows", "context_mesh"]
