"""Environment variables that choose implementations. They are read once, when the package is imported.

``SFT_KERNELS_BACKEND`` asks for an implementation of every op that has it, ``SFT_KERNELS_BACKEND_<OP>`` (such as
``SFT_KERNELS_BACKEND_RMS_NORM``) for that of one op. ``SFT_KERNELS_TILES`` is the path of a table of tiles (see
`sft_kernels.tiles`). ``TRITON_INTERPRET=1`` is triton's own variable.
"""

import os
from typing import Final

_PREFIX = "SFT_KERNELS_BACKEND"

BACKEND: Final[str | None] = os.environ.get(_PREFIX) or None
"""What is asked of all ops."""

BACKEND_OF: Final[dict[str, str]] = {
    name.removeprefix(f"{_PREFIX}_").lower(): value
    for name, value in os.environ.items()
    if name.startswith(f"{_PREFIX}_") and value
}
"""What is asked of single ops, by the op's name."""

INTERPRETING: Final[bool] = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether triton runs kernels in its interpreter, on the CPU."""

TILES: Final[str | None] = os.environ.get("SFT_KERNELS_TILES") or None
"""The path of a table of tiles."""
