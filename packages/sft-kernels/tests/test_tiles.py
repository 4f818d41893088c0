"""Tables of tiles: where they come from, in which order, and what is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_kernels import env, tiles
from sft_kernels.tiles import KERNELS, SHIPPED, Tile, read_tiles, tile_of, use_tiles, write_tiles

KEY = "varlen_attention_forward/bfloat16/128/9.0"
POWERS = st.sampled_from([16, 32, 64, 128])
TILES = st.tuples(POWERS, POWERS, st.sampled_from([1, 2, 4, 8]), st.integers(1, 8))


def test_the_nearest_table_wins() -> None:
    assert tile_of(KEY) == read_tiles(SHIPPED)[KEY]
    with use_tiles({KEY: (16, 32, 4, 1)}):
        with use_tiles({KEY: (64, 32, 4, 1)}):
            assert tile_of(KEY) == Tile(64, 32, 4, 1)
        assert tile_of(KEY) == Tile(16, 32, 4, 1)
        assert tile_of(KEY.replace("128", "64")) == read_tiles(SHIPPED)[KEY.replace("128", "64")]
    assert tile_of(KEY) == read_tiles(SHIPPED)[KEY]
    assert tile_of(KEY.replace("9.0", "7.5")) is None


def test_the_variable_names_a_file_that_comes_before_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiles(tmp_path / "mine.json", {KEY: (32, 16, 4, 1)})
    monkeypatch.setattr(env, "TILES", str(tmp_path / "mine.json"))
    tiles._asked.cache_clear()
    try:
        assert tile_of(KEY) == Tile(32, 16, 4, 1)
        with use_tiles({KEY: (16, 16, 4, 1)}):
            assert tile_of(KEY) == Tile(16, 16, 4, 1)
    finally:
        tiles._asked.cache_clear()


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.sampled_from([f"{name}/float16/64/8.6" for name in KERNELS]), TILES))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, table: dict[str, tuple[int, ...]]) -> None:
    path = tmp_path_factory.mktemp("tiles") / "tiles.json"
    write_tiles(path, {KEY: (16, 16, 4, 1)})
    write_tiles(path, table)
    assert read_tiles(path) == {KEY: (16, 16, 4, 1), **table}
    assert list(json.loads(path.read_text())) == sorted({KEY, *table})


@pytest.mark.parametrize(
    ("key", "numbers", "message"),
    [
        ("rms_norm/bfloat16/128/9.0", (16, 16, 4, 1), "is no key; it has to be kernel/dtype/width/capability"),
        ("varlen_attention_dq/bfloat16/128", (16, 16, 4, 1), "is no key"),
        (KEY + "/x", (16, 16, 4, 1), "is no key"),
        (KEY, (16, 16, 4), r"is \(16, 16, 4\); it has to be four numbers"),
        (KEY, (24, 16, 4, 1), "powers of two"),
        (KEY, (16, 8, 4, 1), "at least 16"),
        (KEY, (1024, 16, 4, 1), "none over"),
    ],
)
def test_what_no_kernel_can_use_is_refused(key: str, numbers: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message), use_tiles({key: numbers}):
        pass


def test_a_file_that_is_not_a_table_is_refused(tmp_path: Path) -> None:
    for text, message in (("{", "is not JSON"), ("[1]", "holds a list")):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_tiles(tmp_path / "x.json")
