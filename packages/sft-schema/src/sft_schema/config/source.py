"""Where the rows of one data set are read from, and which part of them."""

from __future__ import annotations

from typing import Literal

from sft_schema.config.section import Section, setting

FileKind = Literal["json", "jsonl", "csv", "text", "parquet", "arrow"]


class SourceConfig(Section):
    """The source of a data set: files here or remote, a saved folder, or a data set of the hub."""

    path: str = setting(
        "Local file, folder or glob; an address (`https://`, `s3://`, `gs://`) of one; or a hub id.", min_length=1
    )
    ds_type: FileKind | None = setting("Kind of the files, when their endings do not say.", None)
    data_files: str | tuple[str, ...] | None = setting(
        "Files or globs to read, inside the folder or hub data set that `path` names.", None
    )
    data_dir: str | None = setting("Subfolder to read, inside the folder or hub data set that `path` names.", None)
    name: str | None = setting("Configuration of a hub data set.", None)
    split: str = setting("Split, or a part of it such as `train[:10%]` or `train[100:200]`.", "train")
    revision: str | None = setting("Branch, tag or commit of a hub data set.", None)
    streaming: bool = setting(
        "Read a data set of the hub while it is downloaded, without keeping a copy. Files are always read row by row.",
        False,
    )
    shards: int | None = setting("Divide the rows into this many random pieces and read one.", None, ge=1)
    shards_idx: int = setting("The piece of `shards` that is read, from 0.", 0, ge=0)
    weight: float | None = setting("Share in the mix of `mix_strategy`, relative to the other data sets.", None, gt=0)
