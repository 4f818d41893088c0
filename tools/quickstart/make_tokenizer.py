"""Trains the quickstart's tokenizer: `python -m tools.quickstart.make_tokenizer`.

A byte-level BPE: any text round-trips. Digits stand alone, so that a number is read digit by digit. The
tokenizer class is the generic fast one, which takes tokenizer.json as it is; a class named after a model
family would rebuild the tokenizer from its vocabulary and could give other ids.
"""

import argparse
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from tools.quickstart import chats, corpus

VOCAB_SIZE = 2048
END_OF_TEXT, PAD, TURN_START, TURN_END = "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, PAD, TURN_START, TURN_END)
CORPUS_SAMPLE = 6000

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def texts() -> Iterator[str]:
    """What the merges are learnt from: the training messages with their roles, and some of the corpus."""
    for messages in chats.train():
        for message in messages:
            yield f"{message['role']}\n{message['content']}"
    yield from islice(corpus.documents(), CORPUS_SAMPLE)


def train_tokenizer() -> Tokenizer:
    """The tokenizer, trained afresh."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{N}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def settings(context: int) -> dict[str, object]:
    """What tokenizer_config.json says."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": TURN_END,
        "pad_token": PAD,
        "additional_special_tokens": [END_OF_TEXT, TURN_START],
        "model_max_length": context,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
    }


def write(folder: Path, context: int = 1024) -> None:
    """Writes tokenizer.json, tokenizer_config.json, special_tokens_map.json and chat_template.jinja."""
    folder.mkdir(parents=True, exist_ok=True)
    train_tokenizer().save(str(folder / "tokenizer.json"))
    config = settings(context)
    named = {key: config[key] for key in ("eos_token", "pad_token", "additional_special_tokens")}
    for name, content in (("tokenizer_config.json", config), ("special_tokens_map.json", named)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train the quickstart's tokenizer.")
    parser.add_argument("--out", type=Path, default=Path("examples/quickstart/base"))
    write(parser.parse_args().out)
