"""A trained model asked: whole or an adapter, streamed or in a batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, GenerationConfig

from sft_schema import DataError, SftConfig
from sft_train.answer import Answerer, End, Sampling, load_trained
from sft_train.report import write_config

GREEDY = Sampling(max_new_tokens=12, temperature=0)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def answerer(model_folder: Path) -> Answerer:
    return Answerer(load_trained(model_folder), GREEDY)


def streamed(answerer: Answerer, text: str, sampling: Sampling | None = None) -> tuple[str, End]:
    *pieces, end = answerer.stream(user(text), sampling)
    assert isinstance(end, End)
    return "".join(str(each) for each in pieces), end


def test_the_stream_is_what_a_batch_of_different_lengths_gives(answerer: Answerer) -> None:
    texts = ("a", "Say red, green and seven to the north.", "é")
    assert answerer.answers([user(text) for text in texts]) == [streamed(answerer, text)[0] for text in texts]


def test_an_answer_ends_at_the_longest_length_or_at_a_stop_token_that_is_not_shown(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, end = streamed(answerer, "a")
    assert (end.by, end.tokens) == ("length", 12)
    prompt = answerer.prompt_ids(user("a"))
    assert end.prompt_tokens == len(prompt)
    with torch.no_grad():
        full = answerer.trained.model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)
    third = int(full[0, len(prompt) + 2])
    monkeypatch.setattr(answerer, "stop_ids", (third,))
    monkeypatch.setattr(answerer.trained.model.generation_config, "eos_token_id", third)
    shorter, ended = streamed(answerer, "a")
    assert ended.by == "stop"
    assert ended.tokens <= 3
    assert text.startswith(shorter.removesuffix("\ufffd"))
    assert answerer.answers([user("a")]) == [shorter]


def test_the_user_ends_an_answer(answerer: Answerer) -> None:
    stop = Event()
    stop.set()
    *_, end = answerer.stream(user("a"), Sampling(max_new_tokens=400), stop)
    assert isinstance(end, End)
    assert end.by == "user"
    assert end.tokens <= 1
    stream = answerer.stream(user("a"), Sampling(max_new_tokens=400))
    next(stream)
    stream.close()  # type: ignore[attr-defined] - ends the thread too
    assert streamed(answerer, "a")[1].tokens == 12


def test_a_conversation_longer_than_the_model_is_refused_and_an_answer_fits_into_what_is_left(
    answerer: Answerer,
) -> None:
    with pytest.raises(DataError, match="as many as the model has positions"):
        answerer.prompt_ids(user("a" * 600))
    _, end = streamed(answerer, "a" * 480, Sampling(max_new_tokens=400, temperature=0))
    assert end.prompt_tokens + end.tokens <= 512


def test_what_the_template_refuses_is_a_data_error(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answerer.trained.tokenizer, "chat_template", "{{ raise_exception('no such role') }}")
    with pytest.raises(DataError, match="no such role"):
        next(answerer.stream(user("a")))


def test_without_a_template_the_model_goes_on_with_the_text(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answerer.trained.tokenizer, "chat_template", None)
    assert not answerer.chats
    assert answerer.prompt_ids(user("abc")) == answerer.trained.tokenizer("abc")["input_ids"]


@pytest.mark.parametrize(
    ("sampling", "own", "found"),
    [
        (Sampling(), GenerationConfig(), {"max_new_tokens": 1024}),
        (Sampling(), GenerationConfig(max_new_tokens=7), {"max_new_tokens": 7}),
        (Sampling(9, 0.0), GenerationConfig(max_new_tokens=7), {"max_new_tokens": 9, "do_sample": False}),
        (Sampling(9, 0.5, 0.9), GenerationConfig(), {"do_sample": True, "temperature": 0.5, "top_p": 0.9}),
        (Sampling(9, None, 0.9), GenerationConfig(), {"do_sample": True, "top_p": 0.9}),
    ],
)
def test_what_the_user_leaves_open_the_folder_says(
    sampling: Sampling, own: GenerationConfig, found: dict[str, object]
) -> None:
    assert found.items() <= sampling.arguments(own, None).items()
    assert sampling.arguments(own, 3)["max_new_tokens"] == 3


def test_an_adapter_is_loaded_on_its_base_model_with_its_own_stop_tokens(
    model_folder: Path, tmp_path: Path, answerer: Answerer, config: Callable[..., SftConfig]
) -> None:
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    adapted = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path)
    answerer.trained.tokenizer.save_pretrained(tmp_path)
    GenerationConfig(eos_token_id=[2, 9], pad_token_id=0).save_pretrained(tmp_path)
    write_config(config(adapter="lora", lora_target_modules="[q_proj, v_proj]"), tmp_path / "sft_config.yaml")
    found = load_trained(tmp_path)
    assert found.adapter
    assert found.cfg is not None
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert torch.allclose(found.model(ids).logits, adapted.eval()(ids).logits, atol=1e-5)
        assert not torch.allclose(found.model(ids).logits, answerer.trained.model(ids).logits, atol=1e-3)
    assert Answerer(found, GREEDY).stop_ids == (2, 9)
    assert Answerer(found, GREEDY).answers([user("a")])


@pytest.mark.parametrize("file", [None, "processor_config.json", "adapter_config.json"])
def test_a_folder_that_holds_no_model_to_ask_is_refused(file: str | None, tmp_path: Path) -> None:
    if file is not None:
        (tmp_path / "config.json").write_text("{}")
        base = json.dumps({"base_model_name_or_path": str(tmp_path / "gone"), "peft_type": "LORA"})
        (tmp_path / file).write_text(base)
    with pytest.raises(DataError) as refused:
        load_trained(tmp_path)
    assert refused.value.fix
