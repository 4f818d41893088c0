"""The machines of a run, and how weights and work are shared out over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Sharding = Literal["none", "optimizer", "gradients", "weights"]


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU.

    Attributes:
        name: as its maker calls it.
        memory: in GiB.
        flops: bfloat16 operations a second, dense, as its maker states.
        link: bytes a second to a neighbour in its machine, one way.
        network: bytes a second to another machine, one way, for each GPU.
        reached: part of `flops` that computing reaches over a whole step, messages left out.
    """

    name: str
    memory: float
    flops: float
    link: float
    network: float
    reached: float = 0.36


DEVICES = {
    each.name: each
    for each in (
        Device("A100-40GB", 40, 312e12, 300e9, 25e9, 0.64),
        Device("A100-80GB", 80, 312e12, 300e9, 25e9, 0.64),
        Device("H100", 80, 989e12, 450e9, 50e9),
        Device("H200", 141, 989e12, 450e9, 50e9),
        Device("B200", 180, 2250e12, 900e9, 50e9),
        Device("RTX-4090", 24, 165e12, 32e9, 3e9),
    )
}
"""Makers' data sheets; network as one adapter of 200 or 400 Gbit/s a GPU, which clouds sell with them. `reached` is set
so that an 8B model comes out as published by torchtitan, on A100 (64 of them) and H100 (8 of them)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a run is shared out.

    Attributes:
        gpus: of a machine.
        nodes: machines.
        sharding: what is cut over the data-parallel processes: ZeRO 1, 2 and 3, the last of which FSDP does too.
        tensor: processes that share each matrix.
        context: processes that share each row.
    """

    gpus: int = 1
    nodes: int = 1
    sharding: Sharding = "none"
    tensor: int = 1
    context: int = 1

    @property
    def processes(self) -> int:
        """One for each GPU."""
        return self.gpus * self.nodes

    @property
    def data(self) -> int:
        """Processes that see rows of their own."""
        return self.processes // (self.tensor * self.context)

    @property
    def shards(self) -> int:
        """Processes that weights, gradients and states are cut over: those that share a row hold the same weights."""
        return self.data * self.context
