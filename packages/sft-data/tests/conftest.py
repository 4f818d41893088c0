"""A small tokenizer of its own for every test, with the special tokens of several template families."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from sft_schema import SftConfig, parse_config
from sft_schema.record import InspectedToken

SPECIAL = (
    "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "[INST]", "[/INST]", "<|user|>",
    "<|assistant|>", "<|end|>", "<start_of_turn>", "<end_of_turn>",
)  # fmt: skip

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_CORPUS = [
    "Which day comes two days after Monday? Wednesday. The answer is forty two, and the question is long.",
    "user assistant system tool first question first answer second question second answer hello world",
    "numbers 0 1 2 3 4 5 6 7 8 9 and apples, pears, plums: 1 kg each!",
]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test marked `extra(library)` where that library is not installed."""
    missing = [mark.args[0] for mark in item.iter_markers("extra") if find_spec(mark.args[0]) is None]
    if missing:
        pytest.skip(f"an extra: {', '.join(missing)} is not installed")


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>", "pad_token": "<|pad|>", "chat_template": CHATML}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


class Workspace:
    """Writes data files and configs into a folder of the test's own."""

    def __init__(self, folder: Path, tokenizer: Path) -> None:
        self.folder, self.tokenizer = folder, tokenizer

    def use_template(self, template: str | None, **special: str) -> None:
        """Goes on with a copy of the tokenizer that has another chat template and special tokens."""
        source, self.tokenizer = self.tokenizer, self.folder / "tokenizer"
        shutil.copytree(source, self.tokenizer)
        settings = {"eos_token": "<|im_end|>", "chat_template": template, **special}
        (self.tokenizer / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")

    def rows(self, name: str, rows: list[object]) -> Path:
        file = self.folder / name
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return file

    def chats(self, name: str, *chats: list[tuple[str, str]]) -> Path:
        return self.rows(name, [{"messages": [{"role": r, "content": c} for r, c in chat]} for chat in chats])

    @staticmethod
    def marked(tokens: tuple[InspectedToken, ...]) -> str:
        """The text with « before and » after each run of trained tokens."""
        parts: list[str] = []
        inside = False
        for token in tokens:
            if token.trained != inside:
                parts.append("«" if token.trained else "»")
                inside = token.trained
            parts.append(token.text)
        return "".join(parts) + ("»" if inside else "")

    def config(self, *paths: Path, **settings: object) -> SftConfig:
        values: dict[str, object] = {
            "base_model": str(self.tokenizer),
            "datasets": [{"path": str(path)} for path in paths],
            "learning_rate": 1e-3,
            "dataset_prepared_path": str(self.folder / "prepared"),
            **settings,
        }
        return parse_config(json.dumps(values))


@pytest.fixture
def workspace(tmp_path: Path, tokenizer_folder: Path) -> Workspace:
    return Workspace(tmp_path, tokenizer_folder)
