"""Which chat template a data set is trained with, and whether the tokenizer can write it."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from sft_data.render import control_tokens, named_template
from sft_schema import DataError
from sft_schema.config import ConversationConfig, MaskSection

_FALLBACK = "tokenizer_default_fallback_"


def choose_template(cfg: MaskSection, dataset: ConversationConfig | None, own: str | None) -> str | None:
    """The template's text: the data set's, else the config's.

    Args:
        cfg: the top-level settings.
        dataset: a data set that may override them.
        own: the tokenizer's own template.

    Raises:
        DataError: the file of `chat_template_jinja` cannot be read.
    """
    name, jinja = cfg.chat_template, cfg.chat_template_jinja
    if dataset is not None and (dataset.chat_template or dataset.chat_template_jinja):
        name, jinja = dataset.chat_template or "jinja", dataset.chat_template_jinja
    if jinja is not None:
        return _given(jinja)
    if name.startswith(_FALLBACK):
        return own or named_template(name.removeprefix(_FALLBACK))
    return own if name == "tokenizer_default" else named_template(name)


def _given(jinja: str) -> str:
    if "{" in jinja or "\n" in jinja:
        return jinja
    try:
        return Path(jinja).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        where, fix = f"chat_template_jinja {jinja!r}", "correct the path, or write the template itself"
        missing = isinstance(error, FileNotFoundError)
        raise DataError("there is no such file" if missing else str(error), where=where, fix=fix) from None


def require_control_tokens(template: str, backend: Tokenizer, where: str) -> None:
    """Refuses a named template whose control tokens the tokenizer would spell out in pieces.

    Raises:
        DataError: with the missing tokens.
    """
    missing = [token for token in control_tokens(template) if backend.token_to_id(token) is None]
    if missing:
        fix = "use `chat_template: tokenizer_default`, the template that the model comes with, or add the tokens"
        message = f"the chat template writes {', '.join(missing)}, which the tokenizer does not have as tokens"
        raise DataError(message, where=where, fix=fix)


def eot_ids(cfg: MaskSection, template: str, backend: Tokenizer, eos: str | None) -> tuple[int, ...]:
    """Ids of `eot_tokens`.

    Raises:
        DataError: one is not a single token, or the template never writes it.
    """
    found: list[int] = []
    for token in cfg.eot_tokens:
        index = backend.token_to_id(token)
        if index is None:
            fix = "correct it, or add it to the vocabulary; `sft inspect` shows the tokens of a row"
            raise DataError(f"{token!r} is not a single token of the vocabulary", where="eot_tokens", fix=fix)
        if token not in template and not (token == eos and "eos_token" in template):
            fix = "remove it: the tokens that the template puts after an answer are found by themselves"
            raise DataError(f"the chat template never writes {token!r}", where="eot_tokens", fix=fix)
        found.append(index)
    return tuple(found)
