"""The tokenizer of a run, read from its files with the `tokenizers` library alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tokenizers import AddedToken, Tokenizer

from sft_data.encode import Encoder
from sft_data.encoding import Encoded
from sft_data.optional import download_tokenizer
from sft_data.templates import choose_template
from sft_schema import DataError
from sft_schema.config import ModelSection, SftConfig

SPECIAL_NAMES = ("bos_token", "eos_token", "pad_token", "unk_token")


@dataclass(frozen=True, slots=True)
class TextTokenizer:
    """A tokenizer with its chat template and special tokens.

    Attributes:
        folder: local folder with tokenizer.json and tokenizer_config.json.
        backend: the `tokenizers` object. Special tokens are never added by it: they stand in the text.
        own_template: the chat template that came with it, or None.
        chat_template: the template that is trained with and saved, or None.
        special_tokens: `bos_token`, `eos_token`... to text.
        special_ids: ids that the tokenizer marks as special.
        stop_ids: ids that end an assistant's turn, the template's own first.
        adds_bos: whether the tokenizer begins every text with `bos_token`.
        encoder: encodes rows by `tokenizer_engine`.
    """

    folder: Path
    backend: Tokenizer
    own_template: str | None
    chat_template: str | None
    special_tokens: dict[str, str]
    special_ids: frozenset[int]
    stop_ids: tuple[int, ...]
    adds_bos: bool
    encoder: Encoder

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Id of the eos token, if there is one."""
        eos = self.special_tokens.get("eos_token")
        return () if eos is None else (cast(int, self.backend.token_to_id(eos)),)

    @property
    def pad_id(self) -> int | None:
        """Id of the pad token, if there is one."""
        pad = self.special_tokens.get("pad_token")
        return None if pad is None else self.backend.token_to_id(pad)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; special tokens written in it become their ids, none are added."""
        return self.backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[Encoded]:
        """The same for many texts, on all cores, with character offsets."""
        return [Encoded.of(each) for each in self.backend.encode_batch(list(texts), add_special_tokens=False)]

    def encode_rows(self, texts: Sequence[str], places: Sequence[str]) -> Iterator[Encoded]:
        """The same for rows, by the fastest engine that gives the same; see `Encoder.encode_rows`."""
        return self.encoder.encode_rows(texts, places)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens left out."""
        return self.backend.decode(list(ids), skip_special_tokens=True)


def load_tokenizer(cfg: SftConfig) -> TextTokenizer:
    """The tokenizer of `tokenizer_config` or `base_model`, with the config's template and special tokens.

    `stop_ids` holds the eos token; `prepare` puts the template's own stop token before it.

    Raises:
        DataError: a file is missing or broken, or a special token is not in the vocabulary.
    """
    folder = _folder(cfg)
    backend = _backend(folder)
    if cfg.tokens:
        added = [AddedToken(token, normalized=False, special=True) for token in cfg.tokens]
        backend.add_special_tokens(added)  # pyright: ignore[reportUnknownMemberType]
    settings = _json(folder / "tokenizer_config.json")
    special = _special_tokens(cfg, settings, backend, str(folder))
    eos = special.get("eos_token")
    engine = "tokenizers" if cfg.tokens else cfg.tokenizer_engine  # what it is proven against is the file alone
    own = _own_template(folder, settings)
    return TextTokenizer(
        folder=folder,
        backend=backend,
        own_template=own,
        chat_template=choose_template(cfg, None, own),
        special_tokens=special,
        special_ids=frozenset(i for i, token in backend.get_added_tokens_decoder().items() if token.special),
        stop_ids=() if eos is None else (cast(int, backend.token_to_id(eos)),),
        adds_bos=_adds_bos(backend, special),
        encoder=Encoder(folder / "tokenizer.json", backend, engine),
    )


def _folder(cfg: ModelSection) -> Path:
    source = cfg.tokenizer_config or cfg.base_model
    folder = Path(source)
    if not folder.is_dir():
        folder = download_tokenizer(source, cfg.revision_of_model)
    if not (folder / "tokenizer.json").is_file():
        fix = "save the tokenizer with transformers' `save_pretrained`, or set `tokenizer_config`"
        raise DataError("there is no tokenizer.json", where=str(folder), fix=fix)
    return folder


def _backend(folder: Path) -> Tokenizer:
    file = folder / "tokenizer.json"
    try:
        backend = Tokenizer.from_file(str(file))
    except Exception as error:  # noqa: BLE001 - the library raises plain Exception for a broken file
        raise DataError(f"cannot be read: {error}", where=str(file), fix="get the file again") from None
    backend.no_truncation()
    backend.no_padding()
    return backend


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"not JSON: {error}", where=str(file), fix="get the file again") from None


def _special_tokens(cfg: ModelSection, settings: dict[str, Any], backend: Tokenizer, where: str) -> dict[str, str]:
    special: dict[str, str] = {}
    for name in SPECIAL_NAMES:
        found: Any = getattr(cfg.special_tokens, name) or settings.get(name)
        text = found.get("content") if isinstance(found, dict) else found  # pyright: ignore
        if not isinstance(text, str):
            continue
        if backend.token_to_id(text) is None:
            fix = f"set `special_tokens: {name}` to a token of the vocabulary"
            raise DataError(f"{name} {text!r} is not in the vocabulary", where=where, fix=fix)
        special[name] = text
    return special


def _own_template(folder: Path, settings: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    own = settings.get("chat_template")
    if isinstance(own, list):
        templates = {entry["name"]: entry["template"] for entry in cast("list[dict[str, str]]", own)}
        own = templates.get("default")
    return own


def _adds_bos(backend: Tokenizer, special: dict[str, str]) -> bool:
    bos = special.get("bos_token")
    return bos is not None and backend.encode("").ids[:1] == [backend.token_to_id(bos)]
