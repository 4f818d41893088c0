"""How much a program of a kernel works on at once, for each kernel, dtype, width of a head and GPU.

A table is JSON: a key such as ``varlen_attention_forward/bfloat16/128/9.0`` (kernel, dtype, elements of a head as a
power of two, compute capability, which is ``interpreter`` on a CPU), and four numbers: queries, keys, warps, stages.
The package ships one, ``tiles.json``. Before it come the file that ``SFT_KERNELS_TILES`` names, which is read once, and
before that the table of `use_tiles`. `sft_kernels.ops.varlen_attention.tune` measures and writes such a file.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from sft_kernels import env

__all__ = ["Tile", "key_of", "read_tiles", "tile_of", "use_tiles", "write_tiles"]

SHIPPED = Path(__file__).parent / "tiles.json"
KERNELS = ("varlen_attention_forward", "varlen_attention_dq", "varlen_attention_dkv")
DTYPES = ("float64", "float32", "bfloat16", "float16")
LARGEST = (512, 512, 32, 8)


class Tile(NamedTuple):
    """What a program works on at once, and how it is launched."""

    queries: int
    keys: int
    warps: int
    stages: int


Table = Mapping[str, Sequence[int]]
_used: list[dict[str, Tile]] = []  # by `use_tiles`, the innermost last. Of the whole process, as `use_backend` is


def key_of(kernel: str, dtype: torch.dtype, width: int, device: torch.device) -> str:
    """The key of a kernel's tile for heads of `width` elements, a power of two, on a device."""
    if device.type == "cpu":
        where = "interpreter"
    else:
        where = ".".join(str(part) for part in torch.cuda.get_device_capability(device))
    return f"{kernel}/{str(dtype).removeprefix('torch.')}/{width}/{where}"


def tile_of(key: str) -> Tile | None:
    """The tile that the nearest table has for a key, or None."""
    for table in (*reversed(_used), _asked(), _shipped()):
        if key in table:
            return table[key]
    return None


@contextmanager
def use_tiles(table: Table | str | Path) -> Iterator[None]:
    """Tiles of a table, or of a file, before all others, in the whole process.

    Raises:
        ValueError: an entry that no kernel can use; it is named.
    """
    _used.append(read_tiles(table) if isinstance(table, str | Path) else _checked(table, "use_tiles"))
    try:
        yield
    finally:
        _used.pop()


def read_tiles(path: str | Path) -> dict[str, Tile]:
    """The table of a file.

    Raises:
        ValueError: it is not JSON, or has an entry that no kernel can use.
        OSError: it cannot be read.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}); write it with sft_kernels.tiles.write_tiles") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds a {type(found).__name__}; it has to be keys with four numbers each")
    return _checked(found, str(path))


def write_tiles(path: str | Path, table: Table) -> None:
    """Adds entries to a file, which is made where there is none; entries of the same key are replaced.

    Raises:
        ValueError: as `read_tiles`.
    """
    path = Path(path)
    merged = (read_tiles(path) if path.exists() else {}) | _checked(table, "write_tiles")
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(list(merged[key]))}" for key in sorted(merged))
    beside = path.with_name(f"{path.name}.new")  # a reader sees the old file or the new one
    beside.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    beside.replace(path)


@cache
def _shipped() -> dict[str, Tile]:
    return read_tiles(SHIPPED)


@cache
def _asked() -> dict[str, Tile]:
    return {} if env.TILES is None else read_tiles(env.TILES)


def _checked(table: Table, where: str) -> dict[str, Tile]:
    return {key: _checked_tile(key, numbers, where) for key, numbers in table.items()}


def _checked_tile(key: str, numbers: Sequence[int], where: str) -> Tile:
    kernel, dtype, width, *rest = [*key.split("/"), "", "", ""][: max(4, key.count("/") + 1)]
    if kernel not in KERNELS or dtype not in DTYPES or not width.isdigit() or len(rest) != 1 or not rest[0]:
        raise ValueError(
            f"{where}: {key!r} is no key; it has to be kernel/dtype/width/capability, such as "
            f"{KERNELS[0]}/bfloat16/128/9.0; kernels are {', '.join(KERNELS)}"
        )
    if not isinstance(numbers, Sequence) or len(numbers) != 4 or not all(type(each) is int for each in numbers):
        raise ValueError(f"{where}: {key} is {numbers!r}; it has to be four numbers: queries, keys, warps, stages")
    tile = Tile(*numbers)
    powers = all(each & (each - 1) == 0 for each in tile[:3])
    if not powers or min(tile[:2]) < 16 or min(tile) < 1 or any(a > b for a, b in zip(tile, LARGEST, strict=True)):
        raise ValueError(
            f"{where}: {key} is {list(tile)}; queries, keys and warps have to be powers of two, the first two at least "
            f"16, and none over {list(LARGEST)}"
        )
    return tile
