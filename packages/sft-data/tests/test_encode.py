"""Rows have the tokens and the characters of the `tokenizers` library, whichever engine makes them."""

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import sft_data.block as block_module
import sft_data.workers as workers_module
from sft_data import prepare
from sft_data.encode import Encoder
from sft_data.encode import encoder as encoder_module
from sft_data.encode import proof as proof_module
from sft_data.encode.byte_level import GPT2_PATTERN, Unserved, byte_letters, read_byte_level
from sft_data.encode.offsets import with_offsets
from sft_data.encode.proof import prove
from sft_data.encode.stand_in import StandIn
from sft_data.encoding import Encoded
from sft_schema import DataError

QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CORPUS = [
    "Which day comes two days after Monday? The answer is Wednesday, isn't it? naïve café größer 你好世界 你好",
    "def main():\n    return {'a': 1, 'b': [2, 3]}\n\n\nprint(main())   # привет, мир\n" * 3,
]
TEXTS = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("ab 1\n\t'é你🙂\u0301<|>"))) | st.lists(
    st.sampled_from(["<|end|>", "<tool>", " ", "\n", "Monday", "'S", "é", "e\u0301", "你好", "🙂", "\U00020000"])
).map("".join)
FEW = settings(deadline=None, suppress_health_check=list(HealthCheck))

needs_tiktoken = pytest.mark.skipif(find_spec("tiktoken") is None, reason="needs sft-data[tiktoken]")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Proofs are kept where no other test finds them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def fewer_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's `stand_in` goes through all characters; the others through the first few thousand."""
    texts = proof_module.boundary_texts()[:6]
    monkeypatch.setattr(proof_module, "boundary_texts", lambda: texts)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer as Qwen's are: NFC, a Split, byte-level BPE, added tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(QWEN_PATTERN), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    found = tmp_path_factory.mktemp("encode")
    tokenizer.save(str(found / "tokenizer.json"))
    return found


def spec_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))


def backend_of(spec: dict[str, Any]) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(spec))


def encoder(folder: Path, choice: Any, *, worth_it: bool = True) -> Encoder:
    made = Encoder(folder / "tokenizer.json", backend_of(spec_of(folder)), choice)
    made.settle(worth_it=worth_it)
    return made


def proven(spec: dict[str, Any]) -> StandIn:
    facts = read_byte_level(spec)
    return StandIn.of(facts, prove(spec, facts, backend_of(spec)))


@pytest.fixture(scope="session")
def stand_in(folder: Path) -> StandIn:
    pytest.importorskip("tiktoken")
    return proven(spec_of(folder))


@needs_tiktoken
@FEW
@given(text=TEXTS)
def test_a_served_text_has_the_same_ids_and_characters(folder: Path, stand_in: StandIn, text: str) -> None:
    if stand_in.serves(text):
        (found,) = stand_in.encode([text])
        assert found is not None
        wanted = Encoded.of(backend_of_session(folder).encode(text, add_special_tokens=False))
        assert found.difference(wanted) is None


_BACKENDS: dict[Path, Tokenizer] = {}


def backend_of_session(folder: Path) -> Tokenizer:
    return _BACKENDS.setdefault(folder, backend_of(spec_of(folder)))


@FEW
@given(text=TEXTS)
def test_lengths_of_tokens_give_the_characters_that_tokenizers_gives(folder: Path, text: str) -> None:
    facts = read_byte_level({**spec_of(folder), "normalizer": None})
    spec = {**spec_of(folder), "normalizer": None}
    wanted = Encoded.of(_BACKENDS.setdefault(folder / "raw", backend_of(spec)).encode(text, add_special_tokens=False))
    found = with_offsets(wanted.ids, text, facts.lengths)
    assert found is not None
    assert found.difference(wanted) is None


def test_tokens_that_do_not_make_up_the_text_have_no_characters() -> None:
    lengths = np.array([1, 2], dtype=np.int32)
    ids = np.array([0, 1], dtype=np.int32)
    assert with_offsets(ids, "abc", lengths) is not None
    assert with_offsets(ids, "abcd", lengths) is None
    assert with_offsets(ids, "abé", lengths) is None


@needs_tiktoken
def test_rows_that_the_proof_does_not_cover_are_handed_over(stand_in: StandIn) -> None:
    assert stand_in.serves("café 🙂 <|end|>")
    assert not stand_in.serves("cafe\u0301")  # not NFC
    assert not stand_in.serves("\U00020000")  # past what is gone through one by one
    assert not stand_in.serves("a\x00\x1frow\x1f\x00b")  # what stands between rows


@needs_tiktoken
def test_a_run_that_tiktoken_gives_up_on_is_encoded_all_the_same(folder: Path) -> None:
    rows = ["short", " " * 1_000_000, "after"]
    fast, slow = encoder(folder, "tiktoken"), encoder(folder, "tokenizers")
    for found, wanted in zip(fast.encode_rows(rows, rows), slow.encode_rows(rows, rows), strict=True):
        assert found.difference(wanted) is None


@needs_tiktoken
def test_every_choice_gives_the_same_rows_in_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = "e\u0301"
    rows = [f"row {n} {'café ' * (n % 7)}{odd * (n % 5 == 0)}<|end|>\n" for n in range(300)]
    wanted = list(encoder(folder, "tokenizers").encode_rows(rows, rows))
    for choice in ("auto", "tiktoken"):
        chosen = encoder(folder, choice)
        found = list(chosen.encode_rows(rows, rows))
        assert all(a.difference(b) is None for a, b in zip(found, wanted, strict=True))
        assert chosen.rows == {"tiktoken": 240, "tokenizers": 60}
        assert chosen.reason == ""


def test_auto_does_without_tiktoken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    rows = [f"row {n} café<|end|>" for n in range(100)]
    auto, plain = encoder(folder, "auto"), encoder(folder, "tokenizers")
    found, wanted = list(auto.encode_rows(rows, rows)), list(plain.encode_rows(rows, rows))
    assert all(a.difference(b) is None for a, b in zip(found, wanted, strict=True))
    assert auto.rows == {"tokenizers": 100}
    assert "sft-data[tiktoken]" in auto.reason
    with pytest.raises(DataError, match=r"tokenizer\.json: tiktoken cannot be used.*sft-data\[tiktoken\]"):
        encoder(folder, "tiktoken")


@needs_tiktoken
def test_a_small_data_set_does_not_wait_for_the_proof(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "prove", pytest.fail)
    small = encoder(folder, "auto", worth_it=False)
    assert len(list(small.encode_rows(["few", "rows"], ["1", "2"]))) == 2
    assert small.rows == {"tokenizers": 2}


@needs_tiktoken
def test_a_proof_is_given_once_and_holds_for_that_tokenizer_alone(
    folder: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder(folder, "tiktoken")
    given: list[int] = []
    monkeypatch.setattr(encoder_module, "prove", lambda *_: given.append(1) or (300,))
    rows = [f"row {n} café" for n in range(40)]
    known = encoder(folder, "tiktoken")
    assert len(list(known.encode_rows(rows, rows))) == 40
    assert (known.rows, given) == ({"tiktoken": 40}, [])
    spec = spec_of(folder)
    spec["added_tokens"][0]["content"] = "<|other|>"
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    assert encoder(tmp_path, "tiktoken")._stand_in is not None
    assert given == [1]
    for file in own_cache.rglob("*.json"):
        file.write_text("torn", encoding="utf-8")
    encoder(folder, "tiktoken")
    assert given == [1, 1]


@needs_tiktoken
def test_that_tiktoken_cannot_serve_is_kept_too_and_a_home_need_not_be_writable(
    folder: Path, tmp_path: Path, own_cache: Path
) -> None:
    spec = spec_of(folder)
    spec["model"]["merges"] = [*spec["model"]["merges"][1:], spec["model"]["merges"][0]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    own_cache.write_text("a file where the folder should be", encoding="utf-8")
    assert "order of their tokens' ids" in encoder(tmp_path, "auto").reason
    own_cache.unlink()
    assert "order of their tokens' ids" in encoder(tmp_path, "auto").reason
    assert [json.loads(file.read_text())["measures"] for file in own_cache.rglob("*.json")] == [True]


@needs_tiktoken
@pytest.mark.parametrize("number", [3, 256])
def test_a_difference_on_a_sampled_row_stops_and_names_it(
    folder: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = StandIn.encode

    def wrong(self: StandIn, texts: list[str]) -> list[Encoded | None]:
        found = true(self, texts)
        for index, text in enumerate(texts):
            if text == f"row {number}" and (own := found[index]) is not None:
                found[index] = Encoded(own.ids[::-1].copy(), own.starts, own.ends)
        return found

    fast = encoder(folder, "tiktoken")
    list(fast.encode_rows(["proof"], ["first"]))
    fast._seen = fast._checked_from = 0
    monkeypatch.setattr(StandIn, "encode", wrong)
    rows = [f"row {n}" for n in range(300)]
    with pytest.raises(DataError, match=rf"file:{number}: tiktoken and the tokenizer's own encoding differ: ids"):
        list(fast.encode_rows(rows, [f"file:{n}" for n in range(300)]))


@needs_tiktoken
def test_worker_processes_get_the_encoder_with_its_proof(workspace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_module, "_MOST_ROWS", 3)
    data = workspace.chats("train.jsonl", *([("user", f"{n}?"), ("assistant", "café")] for n in range(9)))
    cfg = workspace.config(data, tokenizer_engine="tiktoken", dataset_num_proc=2)
    assert prepare(cfg).manifest.engines == {"tiktoken": 9}


@needs_tiktoken
def test_a_token_that_merges_never_make_is_not_made(folder: Path) -> None:
    """`xq` is in the vocabulary and no merge makes it: tiktoken would, so its vocabulary goes without."""
    spec = {**spec_of(folder), "added_tokens": []}
    spec["model"]["vocab"]["xq"] = 1000
    assert backend_of(spec).encode("xq").ids != [1000]
    (found,) = proven(spec).encode(["xq"])
    assert found is not None
    assert found.ids.tolist() == backend_of(spec).encode("xq").ids
    spec["model"]["ignore_merges"] = True  # now it is made, but of a whole piece alone
    with pytest.raises(Unserved, match=r"b'xq' is two tokens"):
        proven(spec)


@needs_tiktoken
def test_merges_in_another_order_than_ids_are_refused(folder: Path) -> None:
    spec = spec_of(folder)
    spec["model"]["merges"] = [*spec["model"]["merges"][1:], spec["model"]["merges"][0]]
    with pytest.raises(Unserved, match="order of their tokens' ids"):
        proven(spec)


@needs_tiktoken
def test_a_pattern_that_tiktoken_reads_otherwise_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(folder)
    facts = read_byte_level(spec)
    monkeypatch.setattr(proof_module, "boundary_texts", lambda: ["aéAéa1é éé!é\n'éb"])
    with pytest.raises(Unserved, match="characters from 'é' on"):
        proof_module._require_same_pieces(spec, facts.pattern.replace(r"\p{L}+", r"[a-zA-Z]+"))


@needs_tiktoken
def test_gpt2s_pattern_is_the_one_of_byte_level(folder: Path) -> None:
    spec = {**spec_of(folder), "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}}
    assert read_byte_level(spec).pattern == GPT2_PATTERN
    proven(spec)


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "metaspace": (lambda s: s.update(pre_tokenizer={"type": "Metaspace"}), "pre-tokeniser is ['Metaspace']"),
    "no pre-tokeniser": (lambda s: s.update(pre_tokenizer=None), "pre-tokeniser is [None]"),
    "space": (
        lambda s: s.update(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True}),
        "puts a space before the text",
    ),
    "normaliser": (lambda s: s.update(normalizer={"type": "Lowercase"}), "normaliser is Lowercase"),
    "offsets": (
        lambda s: s.update(post_processor={"type": "ByteLevel", "trim_offsets": True}),
        "post-processor ByteLevel moves offsets",
    ),
    "behaviour": (lambda s: s["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed"), "in a way of its own"),
    "fallback": (lambda s: s["model"].update(byte_fallback=True), "not plain BPE"),
    "bytes": (lambda s: s["model"]["vocab"].pop(byte_letters()[0]), "lacks some of the 256 bytes"),
}


@pytest.mark.parametrize(("change", "reason"), CHANGES.values(), ids=CHANGES)
def test_a_tokenizer_of_another_kind_is_not_served(
    folder: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    spec = spec_of(folder)
    change(spec)
    with pytest.raises(Unserved) as error:
        read_byte_level(spec)
    assert reason in str(error.value)


@needs_tiktoken
def test_rows_with_added_tokens_that_take_space_are_handed_over(folder: Path) -> None:
    spec = spec_of(folder)
    entry = spec["added_tokens"][-1]
    spec["added_tokens"].append({**entry, "id": entry["id"] + 1, "content": "<wide>", "rstrip": True})
    spec["added_tokens"].append({**entry, "id": entry["id"] + 2, "content": "<tool>ed"})
    served = proven(spec)
    assert served.serves("<tool>  x")
    assert not served.serves("<wide>  x")
    assert not served.serves("<tool>ed")  # tiktoken might take `<tool>` of it


def test_trimmed_offsets_are_what_the_post_processor_does(folder: Path) -> None:
    """Why such a tokenizer is not served."""
    backend = backend_of(spec_of(folder))
    assert backend.encode("a Monday").offsets[1][0] == 1
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    assert backend.encode("a Monday").offsets[1][0] == 2


@needs_tiktoken
def test_the_manifest_says_which_engine_made_how_many_rows(workspace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "_FEW_CHARACTERS", 1)
    chats = [[("user", f"{n}?"), ("assistant", "e\u0301")] for n in range(5)]
    data = workspace.chats("train.jsonl", *chats, [("user", "\U00020000"), ("assistant", "x")])
    by = {
        choice: prepare(
            workspace.config(
                data, tokenizer_engine=choice, dataset_prepared_path=str(data.parent / choice), dataset_num_proc=1
            )
        )
        for choice in ("auto", "tiktoken", "tokenizers")
    }
    assert by["auto"].manifest.engines == by["tiktoken"].manifest.engines == {"tiktoken": 5, "tokenizers": 1}
    assert by["tokenizers"].manifest.engines == {"tokenizers": 6}
    assert len({each.manifest.fingerprint for each in by.values()}) == 1
    for found in by.values():
        assert [each.input_ids.tolist() for each in found.train] == [
            each.input_ids.tolist() for each in by["tokenizers"].train
        ]
