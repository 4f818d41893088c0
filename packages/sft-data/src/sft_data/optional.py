# pyright: reportUnknownVariableType=false, reportMissingTypeStubs=false
# (the libraries used here ship no complete types)
"""Libraries that are loaded only when something asks for them, because importing them takes long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sft_schema import DataError


def download_tokenizer(repo: str, revision: str | None) -> Path:
    """Local folder of a hub model's tokenizer files.

    Raises:
        DataError: the hub has no such model, or cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"]
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=wanted))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        cause = str(error).splitlines()[0]
        fix = "give an existing local folder, or a hub id that can be reached from here"
        raise DataError(f"neither a folder nor a hub model: {cause}", where=repr(repo), fix=fix) from None


def load_hub_dataset(path: str, name: str | None, split: str, revision: str | None) -> Any:
    """A `datasets.Dataset` of the hub, or of a local folder that `datasets` understands.

    Raises:
        DataError: there is no such data set, configuration or split, or the hub cannot be reached.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        return load_dataset(path, name, split=split, revision=revision)
    except (DatasetNotFoundError, ValueError, OSError) as error:
        cause = str(error).splitlines()[0]
        fix = "check path, name, split and revision; a local file must exist"
        raise DataError(f"cannot be loaded: {cause}", where=f"data set {path!r}, split {split!r}", fix=fix) from None
