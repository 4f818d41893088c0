"""Activations in the host's memory between the forward and the backward pass."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

_SMALLEST = 1024
"""Bytes under which a copy takes longer than the memory is worth."""


class OffloadedActivations:
    """Copies what autograd keeps for the backward pass to the host, and back when it is needed.

    Weights stay where they are. Copies go through page-locked memory on the stream of the computation, in its
    order. With `gradient_checkpointing` only the inputs of each layer are kept, so only those are moved.

    Args:
        model: its weights are not moved.
        device: kind of device to move from; elsewhere everything stays.
    """

    def __init__(self, model: nn.Module, device: str = "cuda") -> None:
        self._device = device
        self._weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
        self.moved = 0

    def keeping(self) -> AbstractContextManager[None]:
        """A context for the forward pass. `moved` counts the bytes that it moved."""
        self.moved = 0
        return saved_tensors_hooks(self._pack, self._unpack)

    def _pack(self, tensor: Tensor) -> Tensor | tuple[torch.device, Tensor]:
        size = tensor.numel() * tensor.element_size()
        here = tensor.device.type == self._device and tensor.layout == torch.strided
        if not here or size < _SMALLEST or tensor.untyped_storage().data_ptr() in self._weights:
            return tensor
        self.moved += size
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        return tensor.device, host.copy_(tensor.detach(), non_blocking=True)

    def _unpack(self, packed: Tensor | tuple[torch.device, Tensor]) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        device, host = packed
        return host.to(device, non_blocking=True)
