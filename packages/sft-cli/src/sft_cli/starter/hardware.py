"""What a run is meant for: a CPU, or a number of GPUs with so much memory. Read off without torch."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

_WRITTEN = re.compile(r"(?:(\d+)\s*x\s*)?(\d+(?:\.\d+)?)\s*(?:gb|gib|g)?", re.IGNORECASE)
_SMI = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")
_MIB = 1024
_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Hardware:
    """The devices of a run.

    Attributes:
        gpus: number of GPUs; 0 is a CPU.
        gigabytes: memory of each in GB, the smallest one's; 0 with a CPU.
    """

    gpus: int
    gigabytes: float

    def __str__(self) -> str:
        if not self.gpus:
            return "a CPU"
        return f"{self.gpus} GPU{'s' if self.gpus > 1 else ''} of {self.gigabytes:.0f} GB"


CPU = Hardware(0, 0)


def parse_hardware(text: str) -> Hardware:
    """`cpu`, `24` or `24GB` for one GPU, `8x80GB` for eight.

    Raises:
        ValueError: it is none of these.
    """
    if text.strip().lower() == "cpu":
        return CPU
    match = _WRITTEN.fullmatch(text.strip())
    if match is None or int(match[1] or 1) == 0 or float(match[2]) == 0:
        raise ValueError(f"{text!r} is no hardware; write `cpu`, `24GB` for one GPU, or `8x80GB` for eight")
    return Hardware(int(match[1] or 1), float(match[2]))


def found_here() -> Hardware:
    """The GPUs that NVIDIA's own tool lists, which takes a tenth of torch's time; else a CPU."""
    try:
        done = subprocess.run(_SMI, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return CPU
    sizes = [int(line) / _MIB for line in done.stdout.split() if line.isdigit()]
    return Hardware(len(sizes), round(min(sizes))) if sizes else CPU
