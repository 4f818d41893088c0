# pyright: reportUnknownVariableType=false, reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false
# (the libraries used here ship no complete types)
"""Libraries that are loaded only when something asks for them, because importing them takes long."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

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


_LONGEST_CAUSE = 300

_STORES = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs")}
"""Protocol of a remote store to its library and the extra that brings it."""


def open_filesystem(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address such as `s3://bucket/key`, and the path in it.

    Logins and endpoints come from where the store's own tools take them: the environment and their files.

    Raises:
        DataError: the store's library is not installed.
    """
    from fsspec.core import url_to_fs

    protocol = address.partition("://")[0]
    library, extra = _STORES.get(protocol, ("", ""))
    try:
        if library:
            import_module(library)
        return url_to_fs(address)
    except ImportError as error:
        fix = f"install `sft-data[{extra}]`" if extra else f"install {error.name}"
        raise DataError(
            f"{protocol}:// needs {library or error.name}, which is missing", where=address, fix=fix
        ) from None


def remote_errors() -> tuple[type[Exception], ...]:
    """What the libraries of remote stores raise besides OSError; only of those that are loaded."""
    known = {
        "aiohttp": ("ClientError",),
        "botocore.exceptions": ("BotoCoreError", "ClientError"),
        "google.auth.exceptions": ("GoogleAuthError",),
        "gcsfs.retry": ("HttpError",),
        "httpx": ("HTTPError",),
    }
    return _errors_of_loaded(known)


def import_pillow() -> tuple[Any, Any]:
    """A function from bytes to an opened, not yet decoded, picture; and Pillow's `ImageOps`.

    The function raises ValueError for a picture that Pillow itself calls a decompression bomb.

    Raises:
        DataError: `sft-data[vision]` is not installed.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise _without_vision("Pillow") from None

    def opened(raw: bytes) -> Any:
        try:
            return Image.open(BytesIO(raw))
        except Image.DecompressionBombError as error:
            raise ValueError(str(error)) from None

    return opened, ImageOps


def _without_vision(library: str) -> DataError:
    return DataError(f"pictures need {library}, which is missing", where="pictures", fix="install `sft-data[vision]`")


@cache
def load_processor(source: str, revision: str | None, trust_remote_code: bool) -> Any:
    """The processor of a model, as transformers' AutoProcessor gives it; loaded once.

    Raises:
        DataError: there is none, it takes no pictures, or `sft-data[vision]` is not installed.
    """
    try:
        from transformers import AutoProcessor
    except ImportError:
        raise _without_vision("transformers") from None
    try:
        found: Any = AutoProcessor.from_pretrained(source, revision=revision, trust_remote_code=trust_remote_code)
    except ImportError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        fix = "install `sft-data[vision]`"
        raise DataError(f"the processor cannot be loaded: {lines[0]}", where=repr(source), fix=fix) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        fix = "use a model that takes pictures and comes with processor_config.json, or remove `processor_type`"
        raise DataError(f"the processor cannot be loaded: {_cause(error)}", where=repr(source), fix=fix) from None
    if not hasattr(found, "image_processor") or not hasattr(found, "tokenizer"):
        fix = "use a model that takes pictures, or remove `processor_type`"
        raise DataError(f"{type(found).__name__} is no processor of pictures and text", where=repr(source), fix=fix)
    return found


def _errors_of_loaded(known: dict[str, tuple[str, ...]]) -> tuple[type[Exception], ...]:
    loaded = ((sys.modules.get(module), names) for module, names in known.items())
    return tuple(getattr(module, name) for module, names in loaded if module is not None for name in names)


def tiktoken_encoding(name: str, pattern: str, vocabulary: dict[bytes, int], special: dict[str, int]) -> Any:
    """A `tiktoken.Encoding` that cuts texts by `pattern` and merges by id; None when tiktoken is not installed."""
    try:
        from tiktoken import Encoding
    except ImportError:
        return None
    return Encoding(name, pat_str=pattern, mergeable_ranks=vocabulary, special_tokens=special)


def load_ray() -> Any:
    """The `ray` module.

    Raises:
        DataError: `sft-data[ray]` is not installed.
    """
    try:
        import ray
    except ImportError:
        fix = "install `sft-data[ray]`, or prepare without `--engine ray`"
        raise DataError("Ray is not installed", where="--engine ray", fix=fix) from None
    return ray


def unpack_zstd(raw: BinaryIO) -> Any:
    """A reader of what is packed with Zstandard.

    Raises:
        DataError: `sft-data[zstd]` is not installed.
    """
    try:
        from zstandard import ZstdDecompressor
    except ImportError:
        where, fix = str(getattr(raw, "name", "a .zst file")), "install `sft-data[zstd]`, or unpack the file"
        raise DataError(".zst needs zstandard, which is missing", where=where, fix=fix) from None
    return ZstdDecompressor().stream_reader(raw, read_across_frames=True)


def zstd_errors() -> tuple[type[Exception], ...]:
    """What zstandard raises, when it is loaded."""
    return _errors_of_loaded({"zstandard": ("ZstdError",)})


def load_hub_dataset(path: str, **arguments: Any) -> Any:
    """A `datasets.Dataset` of the hub; the arguments are those of `datasets.load_dataset`.

    Raises:
        DataError: there is no such data set, configuration or split, or the hub cannot be reached.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

    where = f"data set {path!r}, split {arguments.get('split')!r}"
    known = (DatasetNotFoundError, DatasetGenerationError, ValueError, OSError, RuntimeError, *remote_errors())
    try:
        return load_dataset(path, **arguments)
    except known as error:
        first = error.__cause__ or error if isinstance(error, DatasetGenerationError) else error
        cause = _cause(first)
        fix = "check path, name, split and revision; a local file must exist"
        raise DataError(f"cannot be loaded: {cause}", where=where, fix=fix) from None


@contextmanager
def remote_reading(path: str) -> Generator[None]:
    """Around the reading of rows of the hub: what breaks on the way is a DataError."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, *remote_errors()) as error:
        fix = "check the connection and try again; what is prepared is kept"
        raise DataError(f"cannot be read on: {_cause(error)}", where=f"data set {path!r}", fix=fix) from None


def hub_client() -> Any:
    """A `huggingface_hub.HfApi` with the login of this machine: HF_TOKEN, or what `hf auth login` wrote."""
    from huggingface_hub import HfApi

    return HfApi()


def hub_commit(path: str, revision: str | None) -> str:
    """The commit that a revision of a data set of the hub stands for; raises DataError."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return hub_client().dataset_info(path, revision=revision).sha or ""
    except (HfHubHTTPError, OSError, ValueError, *remote_errors()) as error:
        fix = "check path and revision"
        raise DataError(f"cannot be found: {_cause(error)}", where=f"data set {path!r}", fix=fix) from None


def load_saved_dataset(folder: str, filesystem: Any | None) -> Any:
    """What `save_to_disk` of the datasets library wrote: a `Dataset` or a `DatasetDict`.

    Args:
        folder: local path, or full address of a remote folder.
        filesystem: None for a local folder; a remote one is copied to this machine first.

    Raises:
        DataError: the folder is damaged.
    """
    from datasets import load_from_disk
    from pyarrow import ArrowException

    try:
        options = None if filesystem is None else dict(filesystem.storage_options)
        return load_from_disk(folder, storage_options=options)
    except (OSError, ValueError, KeyError, TypeError, ArrowException, *remote_errors()) as error:
        cause = _cause(error)
        fix = "save it again with `save_to_disk`"
        raise DataError(f"a saved data set that cannot be loaded: {cause}", where=folder, fix=fix) from None


def _cause(error: BaseException) -> str:
    """The beginning of an error of the datasets library, which can be pages long."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return text if len(text) <= _LONGEST_CAUSE else f"{text[:_LONGEST_CAUSE]}..."
