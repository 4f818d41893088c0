"""Pictures of a row, in every form that data sets use; no library of pictures is needed for this."""

import base64
from typing import Any

import pytest

from sft_data.format import FORMATS
from sft_data.row import Row, RowError
from sft_schema.config import DatasetConfig
from sft_schema.record import Conversation, RowOrigin

ANSWER = {"role": "assistant", "content": "a cat"}
TEXT = {"type": "text", "text": "What?"}


def read(values: dict[str, Any], **settings: Any) -> Conversation:
    cfg = DatasetConfig(path="data.jsonl", **settings)
    found = FORMATS["chat_template"](Row(values, RowOrigin("data.jsonl", 0, "data.jsonl:1")), cfg)
    assert isinstance(found, Conversation)
    return found


def content(conversation: Conversation, message: int = 0) -> Any:
    return conversation.messages[message].for_template()["content"]


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ({"type": "image", "path": "a.png"}, "a.png"),
        ({"type": "image", "url": "https://x/a.png"}, "https://x/a.png"),
        ({"type": "image", "image": "a.png"}, "a.png"),
        ({"type": "image", "image": {"bytes": b"raw", "path": None}}, b"raw"),
        ({"type": "image", "image": {"path": "a.png"}}, "a.png"),
        ({"type": "image", "bytes": b"raw"}, b"raw"),
        ({"type": "image", "base64": base64.b64encode(b"raw").decode()}, b"raw"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, "data:image/png;base64,AAAA"),
        ({"type": "image_url", "image_url": "a.png"}, "a.png"),
        ({"type": "image", "path": "a.png", "text": None, "weight": None}, "a.png"),
    ],
)
def test_a_part_names_its_picture(part: dict[str, Any], value: str | bytes) -> None:
    found = read({"messages": [{"role": "user", "content": [part, TEXT]}, ANSWER]})
    assert [each.value for each in found.pictures] == [value]
    assert content(found) == [{"type": "image"}, TEXT]
    assert content(found, 1) == "a cat"


def test_parts_without_an_address_take_the_pictures_of_the_column_in_order() -> None:
    ask = [{"type": "image"}, TEXT, {"type": "image", "path": "own.png"}, {"type": "image"}]
    found = read({"messages": [{"role": "user", "content": ask}, ANSWER], "images": ["1.png", {"bytes": b"2"}]})
    assert [each.value for each in found.pictures] == ["1.png", "own.png", b"2"]


def test_markers_in_texts_take_the_pictures_of_the_column() -> None:
    """LLaVA's form; one line break beside a marker goes with it."""
    rows = [
        {"from": "human", "value": "<image>\nWhat is\n<image> beside <image>\n\n?"},
        {"from": "gpt", "value": "<image> stays"},
    ]
    found = read({"conversations": rows, "image": ["1.png", "2.png", "3.png"]})
    picture = {"type": "image"}
    assert content(found) == [
        picture,
        {"type": "text", "text": "What is"},
        picture,
        {"type": "text", "text": " beside "},
        picture,
        {"type": "text", "text": "\n?"},
    ]
    assert content(found, 1) == "<image> stays"
    assert [each.value for each in found.pictures] == ["1.png", "2.png", "3.png"]


def test_a_single_picture_needs_no_list_and_the_column_can_have_another_name() -> None:
    ask = [{"role": "user", "content": "<image>What?"}, ANSWER]
    assert read({"messages": ask, "image": "1.png"}).pictures[0].value == "1.png"
    found = read({"messages": ask, "photo": "2.png", "images": ["no.png"]}, field_images="photo")
    assert [each.value for each in found.pictures] == ["2.png"]


def test_without_a_column_the_marker_is_text() -> None:
    found = read({"messages": [{"role": "user", "content": "<image> in HTML?"}, ANSWER], "images": []})
    assert content(found) == "<image> in HTML?"
    assert found.pictures == ()


def test_text_parts_keep_their_flags() -> None:
    answer = {"role": "assistant", "content": [{"type": "text", "text": "no", "train": False}, TEXT]}
    ask = {"role": "user", "content": [{"type": "image", "path": "a"}, TEXT | {"train": True}, TEXT]}
    found = read({"messages": [ask, answer]})
    assert [(each.message, each.field, each.end, each.train) for each in found.parts] == [
        (0, "content.1.text", 5, True),
        (0, "content.2.text", 5, True),
        (1, "content", 2, False),
        (1, "content", 7, True),
    ]


@pytest.mark.parametrize(
    ("ask", "images", "reason"),
    [
        ([{"type": "image"}, TEXT], ["1.png", "2.png"], "picture_count"),
        ([{"type": "image"}, {"type": "image"}], ["1.png"], "picture_count"),
        ([{"type": "image"}], None, "picture_count"),
        ([{"type": "image", "path": "a.png"}], ["1.png"], "picture_count"),
        ("no place for it", ["1.png"], "picture_count"),
        ([{"type": "image", "path": ""}], None, "bad_picture"),
        ([{"type": "image", "image": 7}], None, "bad_picture"),
        ([{"type": "image", "image": {"bytes": None}}], None, "bad_picture"),
        ([{"type": "image", "base64": "%%%"}], None, "bad_picture"),
        ("<image>", [7], "bad_picture"),
        ([{"type": "image", "path": "a"}, {"type": "video", "video": "v.mp4"}], None, "not_text_part"),
        ([{"type": "image", "path": "a"}, {"type": "input_audio", "input_audio": {}}], None, "not_text_part"),
        ([{"type": "image", "path": "a"}, 7], None, "bad_message"),
        ([{"type": "video", "video": "v.mp4"}], None, "not_text_part"),
        ([{"type": "image", "path": "a"}, TEXT | {"train": "x"}], None, "bad_training_flag"),
    ],
)
def test_what_is_no_picture_sets_the_row_aside(ask: Any, images: Any, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        read({"messages": [{"role": "user", "content": ask}, ANSWER], "images": images})
    assert caught.value.reason == reason
