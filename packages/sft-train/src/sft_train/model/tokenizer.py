"""The tokenizer that is saved with the model: transformers' own, proven to give the ids that were trained."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from transformers import AddedToken, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from sft_data import TextTokenizer
from sft_schema import DataError
from sft_schema.config import ModelSection
from sft_train.model.quantise import embedded_ids

_PROBES = (
    "The quick brown fox jumps over the lazy dog. It's 3.14159, isn't it?",
    "  leading spaces,\ttabs\t\tand trailing ones   ",
    "lines\n\nand\r\n more \n \n lines\n",
    "def f(x):\n    return x ** 2  # 1_000_000\n",
    "naïve café, Ελληνικά, русский, 日本語のテキスト, 한국어, العربية, हिन्दी",
    "e\u0301 and \u00e9; \ufb01 and fi; \u200bzero\u200bwidth\u00a0spaces\ufeff",
    "👩‍👩‍👧‍👦 🇯🇵 👍🏽 \U0001f9ff",
    "0 12 345 6789 1234567890 ١٢٣ ²³",
    "CamelCaseWORDS don't we'll I'M THEY'RE",
    "<s> </s> <unk> <pad> <|im_start|>user\n<|im_end|> [INST] [/INST] <|endoftext|> <|eot_id|>",
    "\x00\x01\x7f control \u2028 separators \ue000",
    "a" * 300 + " " * 40 + "\n" * 9,
)


def load_tokenizer(cfg: ModelSection, trained: TextTokenizer, model: PreTrainedModel) -> PreTrainedTokenizerBase:
    """Transformers' tokenizer of the same folder, with the chat template and special tokens of the training.

    The data were encoded from tokenizer.json itself. transformers rebuilds a tokenizer whose class it knows
    from vocabulary and merges, with that class's own rules for splitting words, so its ids can differ. A model
    trained on one and served with the other would be fed tokens it has never seen: this is refused.

    Args:
        cfg: whether Python code that comes with the tokenizer may run.
        trained: the tokenizer that the data were encoded with.
        model: the bare model; with `tokens` it gets rows for them.

    Raises:
        DataError: it cannot be loaded, gives other ids, or has ids that the model has no embedding for.
    """
    where = str(trained.folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=cfg.trust_remote_code)
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:  # it depends on the class
        fix = "mend tokenizer_config.json, or set `tokenizer_config` to another tokenizer"
        raise DataError(f"transformers cannot load the tokenizer: {error}", where=where, fix=fix) from error
    if cfg.tokens:
        added = [AddedToken(token, normalized=False, special=True) for token in cfg.tokens]
        tokenizer.add_tokens(added, special_tokens=True)  # pyright: ignore[reportArgumentType]
        _make_room(model, len(tokenizer))
    for text in _probes(trained):
        _compare(trained, tokenizer, text)
    _check_vocabulary(tokenizer, model, where)
    for name, token in trained.special_tokens.items():
        setattr(tokenizer, name, token)
    tokenizer.chat_template = trained.chat_template
    tokenizer.padding_side = "left"  # generation continues at the right end
    return tokenizer


@torch.no_grad()
def _make_room(model: PreTrainedModel, ids: int) -> None:
    """Gives the embedding and the head a row for each id; new ones are the mean of those before, tied or not.

    A random row can have a logit above all others, which the softmax of every text would pay for (Hewitt 2021,
    "Initializing new word embeddings for pretrained language models").
    """
    before = int(model.get_input_embeddings().weight.shape[0])
    if ids <= before:
        return
    model.resize_token_embeddings(ids, mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        weight: Any = getattr(layer, "weight", None)
        if weight is not None:
            weight[before:] = weight[:before].mean(0)
            if getattr(layer, "bias", None) is not None:
                layer.bias[before:] = layer.bias[:before].mean()  # pyright: ignore


def _check_vocabulary(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, where: str) -> None:
    highest = max(tokenizer.get_vocab().values())
    rows = embedded_ids(model)
    if highest < rows:
        return
    message = f"the tokenizer's highest id is {highest}, but the model embeds ids 0 to {rows - 1}"
    fix = "use the model's own tokenizer (`tokenizer_config`), or a model with a larger vocabulary"
    raise DataError(message, where=where, fix=fix)


def _probes(trained: TextTokenizer) -> Iterator[str]:
    yield from _PROBES
    yield trained.chat_template or ""
    special = trained.backend.get_added_tokens_decoder().values()
    yield "".join(f"{token.content} x{token.content}" for token in islice(special, 400))


def _compare(trained: TextTokenizer, tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    wanted = trained.encode(text)
    found = tokenizer.encode(text, add_special_tokens=False)
    if found == wanted:
        return
    index = next((i for i, (a, b) in enumerate(zip(wanted, found, strict=False)) if a != b), len(wanted))
    message = (
        f"transformers' {type(tokenizer).__name__} gives other ids than tokenizer.json for {text[:60]!r}: "
        f"{found[index : index + 5]} for {wanted[index : index + 5]} from token {index} on"
    )
    fix = 'set "tokenizer_class": "PreTrainedTokenizerFast" in tokenizer_config.json, which reads the file as it is'
    raise DataError(message, where=str(trained.folder), fix=fix)
