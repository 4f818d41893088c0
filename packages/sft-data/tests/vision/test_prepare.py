"""Rows with pictures through the whole preparation, for the processors of five families."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft_data import Prepared, inspect_rows, picture_batch, prepare
from sft_data.encoding import Encoded
from sft_data.mask import ignore_pictures
from sft_data.row import RowError
from sft_data.vision import PictureProcessor, expand
from sft_schema import IGNORE_INDEX, DataError, SftConfig
from sft_schema.record import Picture, Region, Rendered, Span
from sft_schema.testing.vision import FAMILIES, token_ids, write_png

pytestmark = pytest.mark.extra("torchvision")

Make = Callable[..., SftConfig]
IMAGE_TOKEN = {
    "llava": "<image>",
    "qwen2_vl": "<|image_pad|>",
    "gemma3": "<soft>",
    "mllama": "<|image|>",
    "pixtral": "[IMG]",
}
TOKENS_OF_RED = {"llava": 16, "qwen2_vl": 1, "gemma3": 16, "mllama": 1, "pixtral": 12}
"""Of a picture of 40 x 30 pixels. Qwen: 28 x 28 pixels make a token. Pixtral: scaled to 32 x 24, then 4 x 3 patches."""

ASK = {"role": "user", "content": [{"type": "image", "path": "red.png"}, {"type": "text", "text": "Colour?"}]}
RED = {"role": "assistant", "content": "red"}
PLAIN = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
TWO = [
    {"role": "user", "content": "First <image>\nand second <image>"},
    {"role": "assistant", "content": "red, blue"},
    {"role": "user", "content": "Sure?"},
    {"role": "assistant", "content": "Yes"},
]


def write(folder: Path, *rows: dict[str, Any]) -> None:
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def trained(prepared: Prepared, sample: int) -> str:
    labels = prepared.train[sample].labels
    ids = [int(each) for each in labels if each != IGNORE_INDEX]
    return prepared.tokenizer.backend.decode(ids, skip_special_tokens=False)


def quarantined(prepared: Prepared) -> dict[str, str]:
    """Place to reason."""
    lines = (prepared.folder / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["place"].rpartition(":")[2]: row["reason"] for row in map(json.loads, lines)}


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_trained_and_pictures_are_not(family: str, picture_config: Make, tmp_path: Path) -> None:
    write(
        tmp_path,
        {"messages": [ASK, RED]},
        {"messages": PLAIN},
        {"messages": TWO, "images": ["red.png", "blue.png"]},
    )
    prepared = prepare(picture_config(family))
    stop = FAMILIES[family].special[1]
    assert [trained(prepared, each) for each in range(3)] == [f"red{stop}", f"Hi{stop}", f"red, blue{stop}Yes{stop}"]
    image = token_ids(family)[IMAGE_TOKEN[family]]
    counts = [int((prepared.train[each].input_ids == image).sum()) for each in range(3)]
    assert counts[:2] == [TOKENS_OF_RED[family], 0]
    assert counts[2] > TOKENS_OF_RED[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_texts_that_stand_for_pictures_are_known(
    family: str, processor: Callable[[str], PictureProcessor], picture_config: Make, tmp_path: Path
) -> None:
    known = processor(family).media_tokens
    assert IMAGE_TOKEN[family] in known
    rows = [{"messages": [ASK, {"role": "assistant", "content": f"a {token} b"}]} for token in known]
    write(tmp_path, {"messages": PLAIN}, *rows)
    prepared = prepare(picture_config(family, special_tokens_in_content="allow", max_dropped_fraction="1"))
    assert set(quarantined(prepared).values()) == {"picture_token_in_text"}
    assert len(prepared.train) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokens_are_those_of_the_processors_own_chat_template(
    family: str, picture_config: Make, processor: Callable[[str], PictureProcessor], tmp_path: Path
) -> None:
    """`return_dict` is an argument of `apply_chat_template` itself: transformers 5 drops it elsewhere."""
    write(tmp_path, {"messages": [ASK, RED]})
    prepared = prepare(picture_config(family))
    ask = [{"type": "image", "path": str(tmp_path / "red.png")}, ASK["content"][1]]
    answer = [{"type": "text", "text": "red"}]
    messages = [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
    backend = processor(family).backend
    found = backend.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="np")
    assert found["input_ids"][0].tolist() == prepared.train[0].input_ids.tolist()
    batch = picture_batch([prepared.train[0]], processor(family))
    assert type(batch) is dict
    assert np.array_equal(batch["pixel_values"], found["pixel_values"])


@pytest.mark.parametrize("family", FAMILIES)
def test_with_train_on_inputs_all_but_the_pictures_is_trained(
    family: str, picture_config: Make, tmp_path: Path
) -> None:
    write(tmp_path, {"messages": [ASK, RED]})
    prepared = prepare(picture_config(family, train_on_inputs="true"))
    sample = prepared.train[0]
    ignored = sample.input_ids[sample.labels == IGNORE_INDEX]
    text = prepared.tokenizer.backend.decode(ignored.tolist(), skip_special_tokens=False)
    token = IMAGE_TOKEN[family]
    assert token in text
    around = {
        "gemma3": ("\n\n<start_of_image>", "<end_of_image>\n\n"),
        "pixtral": ("", "[IMG_BREAK]" * 2 + "[IMG_END]"),
    }
    expected = "".join(around.get(family, ("", "")))
    assert text.replace(token, "") == expected


def test_what_would_go_wrong_sets_the_row_aside(picture_config: Make, tmp_path: Path) -> None:
    typed = {"role": "user", "content": [*ASK["content"], {"type": "text", "text": "an <image> tag"}]}
    picture_in_answer = {"role": "assistant", "content": [{"type": "image", "path": "red.png"}]}
    write(
        tmp_path,
        {"messages": [ASK, RED]},
        {"messages": [typed, RED]},
        {"messages": [ASK, picture_in_answer]},
        {"messages": [{"role": "user", "content": [{"type": "image", "path": "no.png"}]}, RED]},
        {"messages": [{"role": "user", "content": "<image>"}, RED], "images": ["red.png", "blue.png"]},
        {"messages": [{"role": "user", "content": [{"type": "video", "video": "v.mp4"}]}, RED]},
        {"messages": [{"role": "user", "content": "an <image> tag"}, RED]},
    )
    for content in ("error", "allow"):
        prepared = prepare(picture_config("llava", max_dropped_fraction="1", special_tokens_in_content=content))
        assert len(prepared.train) == 1
        assert quarantined(prepared) == {
            "2": "picture_token_in_text",
            "3": "picture_in_trained_turn",
            "4": "missing_picture",
            "5": "picture_count",
            "6": "not_text_part",
            "7": "picture_token_in_text",
        }


def test_a_template_that_leaves_pictures_out_is_found_out(picture_config: Make, tmp_path: Path) -> None:
    template = FAMILIES["qwen2_vl"].template.replace("<|vision_start|><|image_pad|><|vision_end|>", "")
    (tmp_path / "t.jinja").write_text(template, encoding="utf-8")
    write(tmp_path, {"messages": [ASK, RED]}, {"messages": PLAIN})
    cfg = picture_config(
        "qwen2_vl", chat_template="jinja", chat_template_jinja=tmp_path / "t.jinja", max_dropped_fraction="1"
    )
    assert quarantined(prepare(cfg)) == {"1": "picture_refused"}


def test_without_a_processor_rows_with_pictures_are_set_aside(picture_config: Make, tmp_path: Path) -> None:
    write(tmp_path, {"messages": [ASK, RED]}, {"messages": PLAIN})
    text = picture_config("qwen2_vl", max_dropped_fraction="1").model_copy(update={"processor_type": None})
    prepared = prepare(text)
    assert quarantined(prepared) == {"1": "not_text_part"}
    assert prepared.processor is None
    assert not (prepared.folder / "train.pictures.arrow").exists()
    (line,) = (prepared.folder / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    assert "`processor_type: AutoProcessor` is not set" in line


def test_rows_of_the_same_words_and_other_pictures_are_no_duplicates(picture_config: Make, tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "<image>"}, RED], "image": f"{name}.png"} for name in "aba"]
    for name, colour in (("a", (250, 0, 0)), ("b", (0, 0, 250))):
        write_png(tmp_path / f"{name}.png", 32, 32, colour)
    write(tmp_path, *rows)
    (tmp_path / "held.jsonl").write_text(json.dumps(rows[0]), encoding="utf-8")
    cfg = picture_config("llava", dataset_exact_deduplication="true", max_dropped_fraction="1")
    assert quarantined(prepare(cfg)) == {"3": "duplicate"}
    held = picture_config("llava", test_datasets=f"[{{path: {tmp_path / 'held.jsonl'}}}]", eval_overlap="error")
    with pytest.raises(DataError, match="1 of 1 held-out samples are trained on too"):
        prepare(held)


def test_a_sample_that_is_too_long_is_never_cut(picture_config: Make, tmp_path: Path) -> None:
    write(tmp_path, {"messages": [ASK, RED]}, {"messages": PLAIN})
    with pytest.raises(DataError, match="`truncate` loses 1 rows"):
        prepare(picture_config("llava", sequence_len="40"))
    dropped = prepare(
        picture_config("llava", sequence_len="40", excess_length_strategy="drop", max_dropped_fraction="1")
    )
    assert len(dropped.train) == 1


def test_inspect_shows_the_tokens_of_pictures_as_not_trained(picture_config: Make, tmp_path: Path) -> None:
    write(tmp_path, {"messages": [ASK, RED]})
    (row,) = inspect_rows(picture_config("llava"))
    shown = [(each.text, each.trained) for each in row.tokens]
    assert shown.count(("<image>", False)) == 16
    assert "".join(text for text, on in shown if on) == "red</s>"


def test_a_batch_that_differs_from_the_prepared_tokens_is_refused(
    picture_config: Make, processor: Callable[[str], PictureProcessor], tmp_path: Path
) -> None:
    write(tmp_path, {"messages": [ASK, RED]})
    prepared = prepare(picture_config("llava"))
    sample = prepared.train[0]
    assert sample.pictured is not None
    other = replace(sample.pictured.before, text=sample.pictured.before.text.replace("Colour", "colour"))
    twice = replace(sample.pictured, pictures=sample.pictured.pictures * 2)
    with pytest.raises(DataError, match=r"rows\.jsonl:1: the processor makes \d+ tokens of the row, other than"):
        picture_batch([replace(sample, pictured=replace(sample.pictured, before=other))], processor("llava"))
    with pytest.raises(DataError, match="the processor refuses the batch"):
        picture_batch([replace(sample, pictured=twice)], processor("gemma3"))


def test_a_change_of_the_processor_prepares_anew(picture_config: Make, tmp_path: Path) -> None:
    write(tmp_path, {"messages": [ASK, RED]})
    one, two = prepare(picture_config("llava")), prepare(picture_config("pixtral"))
    assert one.folder != two.folder
    assert prepare(picture_config("llava")).folder == one.folder


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="<"), max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(TEXTS, min_size=1, max_size=4))
@pytest.mark.parametrize("family", ["llava", "gemma3", "mllama"])
def test_spans_still_name_their_text_after_pictures_took_their_places(
    family: str, pieces: list[str], processor: Callable[[str], PictureProcessor], picture_config: Make, tmp_path: Path
) -> None:
    from PIL import Image

    placeholder = {"llava": "<image>", "gemma3": "<start_of_image>", "mllama": "<|image|>"}[family]
    text, spans = "", list[Span]()
    for number, piece in enumerate(pieces):
        text += placeholder if number else ""
        spans.append(Span(len(text), len(text) + len(piece), number, "content", 0))
        text += piece
    rendered = Rendered(text, tuple(spans), ("user",) * len(pieces), ((0, len(text)),))
    images = [(Picture("p", "d"), Image.new("RGB", (20 + 9 * each, 30))) for each in range(len(pieces) - 1)]
    backend = processor(family)

    def encode(text: str) -> list[int]:
        return list(backend.backend.tokenizer(text, add_special_tokens=False)["input_ids"])

    if family == "mllama" and text:
        return_text = "<|bos|>" + text  # its processor puts the begin token before a text that lacks it
        spans = [Span(each.start + 7, each.end + 7, each.message, each.field, 0) for each in spans]
        rendered = Rendered(return_text, tuple(spans), rendered.roles, ((7, len(return_text)),))
    found = expand(rendered, images, backend, encode)
    assert [found.text[span.start : span.end] for span in found.spans] == pieces
    assert found.pictured is not None
    assert found.pictured.before == rendered
    assert len(found.pictured.spans) == len(images)
    inside = [found.text[start:end] for start, end in found.pictured.spans]
    rest = found.text
    for each in inside:
        rest = rest.replace(each, "", 1)
    assert rest == rendered.text.replace(placeholder, "")
    assert found.generations[0][1] == len(found.text)


@given(st.data())
def test_no_token_that_touches_a_picture_keeps_its_label(data: st.DataObject) -> None:
    widths = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=20))
    ends = np.cumsum(widths)
    encoded = Encoded(np.arange(len(ends), dtype=np.int32), ends - widths, ends)
    start = data.draw(st.integers(0, int(ends[-1]) - 1))
    end = data.draw(st.integers(start + 1, int(ends[-1])))
    region = Region(0, int(ends[-1]), 0, "input")
    touched = (encoded.starts < end) & (encoded.ends > start)
    if touched[1:].all():
        with pytest.raises(RowError, match="nothing_to_train"):
            ignore_pictures(encoded, [(start, end)], [region], encoded.ids.copy())
        return
    labels = ignore_pictures(encoded, [(start, end)], [region], encoded.ids.copy())
    assert ((labels == IGNORE_INDEX) == touched).all()
