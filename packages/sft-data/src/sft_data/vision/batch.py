"""A batch of texts and pictures, as the model's forward takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sft_data.row import RowError
from sft_data.vision.processor import REFUSALS, PictureProcessor
from sft_data.vision.read import open_picture
from sft_schema import DataError
from sft_schema.record import TokenizedSample

Inputs = dict[str, Any]


def picture_batch(samples: Sequence[TokenizedSample], processor: PictureProcessor) -> Inputs:
    """What the processor makes of a batch, checked against the prepared tokens.

    Args:
        samples: b samples, prepared with this processor; those with the most pictures first, since Mllama's fails on
            a first row without any.
        processor: see there.

    Returns:
        A plain dict: `input_ids` and `attention_mask` int64 `[b, t]`, filled up on the right, and whatever else the
        model takes, such as `pixel_values` float32.

    Raises:
        DataError: a picture is gone or has changed, or a row's tokens differ from the prepared ones.
    """
    images = [_opened(sample) for sample in samples]
    texts = [sample.pictured.before.text for sample in samples if sample.pictured is not None]
    arguments: dict[str, Any] = {"images": images} if any(images) else {}
    if len(samples) > 1:
        arguments |= {"padding": True, "padding_side": "right"}
    try:
        output = processor.backend(text=texts, add_special_tokens=False, return_tensors="np", **arguments)
    except REFUSALS as error:
        fix = "delete the prepared folder: the data are prepared again"
        places = ", ".join(sample.origin.place for sample in samples)
        message = f"the processor refuses the batch: {type(error).__name__}: {error}"
        raise DataError(message, where=places, fix=fix) from None
    inputs = dict(output)
    _require_prepared(samples, inputs["input_ids"], inputs["attention_mask"])
    return _filled_up(inputs, len(samples))


def _filled_up(inputs: Inputs, rows: int) -> Inputs:
    """Mllama's aspect ratios for all rows: its processor (transformers 5.23) leaves out last rows without pictures."""
    for name in ("aspect_ratio_ids", "aspect_ratio_mask"):
        lacking = rows - len(inputs[name]) if name in inputs else 0
        if lacking:
            filling = np.zeros((lacking, *inputs[name].shape[1:]), dtype=inputs[name].dtype)
            if name == "aspect_ratio_mask":
                filling[..., 0] = 1  # as the processor does where a row has fewer pictures than another
            inputs[name] = np.concatenate([inputs[name], filling])
    return inputs


def _opened(sample: TokenizedSample) -> list[Any]:
    try:
        return [open_picture(each) for each in (sample.pictured.pictures if sample.pictured else ())]
    except RowError as error:
        fix = "put the picture back, or delete the prepared folder: the data are prepared again"
        raise DataError(error.detail, where=sample.origin.place, fix=fix) from None


def _require_prepared(samples: Sequence[TokenizedSample], ids: NDArray[np.int64], mask: NDArray[np.int64]) -> None:
    for row, sample in enumerate(samples):
        length = int(mask[row].sum())
        whole = bool(mask[row, :length].all())
        if whole and np.array_equal(ids[row, :length], sample.input_ids):
            continue
        message = f"the processor makes {length} tokens of the row, other than the {len(sample.input_ids)} prepared"
        fix = "delete the prepared folder: the data are prepared again"
        raise DataError(message, where=sample.origin.place, fix=fix)
