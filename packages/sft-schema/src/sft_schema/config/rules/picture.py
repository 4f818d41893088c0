"""Pictures: what they need, and what cannot be done with them."""

from __future__ import annotations

from collections.abc import Iterator

from sft_schema.attention import find_backend
from sft_schema.config.picture import PictureSection
from sft_schema.config.root import SftConfig
from sft_schema.config.rules.data import entries
from sft_schema.config.rules.rule import Finding, Rule
from sft_schema.errors import Path

_CUTTING = ("truncate", "truncate_history", "split")
_OF_ENTRIES = ("field_images", "image_folder")
_REFUSED = (
    ("do_causal_lm_eval", "answers are generated to questions of text alone", "set it to false"),
    (
        "dataset_near_deduplication",
        "rows of the same words and other pictures are no duplicates",
        "remove it, or set `dataset_exact_deduplication: true`",
    ),
    ("neftune_noise_alpha", "noise is for embeddings of text", "remove it"),
    ("chunked_cross_entropy", "logits are computed whole", "remove it"),
    ("cut_cross_entropy", "logits are computed whole", "remove it"),
    ("plugins", "logits are computed whole", "remove it"),
    ("push_dataset_to_hub", "they stay on this machine, and prepared data name their files", "remove it"),
)
"""Settings that are refused once they are on, why, and what to do."""
_CLASHING = (
    "processor_type", "special_tokens_in_content", "expand_turns", "datasets", "test_datasets", "do_causal_lm_eval",
    "dataset_near_deduplication", "neftune_noise_alpha", "chunked_cross_entropy", "cut_cross_entropy", "plugins",
    "attn_implementation", "dataset_prepared_path", "push_dataset_to_hub",
)  # fmt: skip


def _packed(cfg: SftConfig) -> Finding | None:
    if cfg.processor_type is None or not cfg.sample_packing:
        return None
    message = "samples with pictures would share a row; their rows are padded instead"
    return Finding(("sample_packing",), message, "set `sample_packing: false`")


def _cut(cfg: SftConfig) -> Finding | None:
    if cfg.processor_type is None or cfg.excess_length_strategy not in _CUTTING:
        return None
    message = f"{cfg.excess_length_strategy!r} would cut pictures in two"
    return Finding(("excess_length_strategy",), message, "write `drop` or `raise`, and a larger `sequence_len`")


def _without_processor(cfg: SftConfig) -> Finding | None:
    if cfg.processor_type is not None:
        return None
    fields = PictureSection.model_fields
    given: list[Path] = [(key,) for key in fields if getattr(cfg, key) != fields[key].default]
    given += [(*path, key) for path, entry in entries(cfg) for key in _OF_ENTRIES if getattr(entry, key) is not None]
    if not given:
        return None
    fix = "add `processor_type: AutoProcessor`, or remove it"
    return Finding(given[0], f"{given[0][-1]} has no effect without processor_type: only text is trained on", fix)


def _clash(cfg: SftConfig) -> Finding | None:
    if cfg.processor_type is None:
        return None
    return next((Finding(path, f"{path[-1]} with pictures: {why}", fix) for path, why, fix in _clashes(cfg)), None)


def _clashes(cfg: SftConfig) -> Iterator[tuple[Path, str, str]]:
    """Path, reason and fix of every setting that cannot be had with pictures."""
    for path, holder in [((), cfg), *entries(cfg)]:
        if holder.expand_turns:
            yield (*path, "expand_turns"), "they stay with one row", "set it to false"
    for key, why, fix in _REFUSED:
        if getattr(cfg, key):
            yield (key,), why, fix
    yield from _values(cfg)


def _values(cfg: SftConfig) -> Iterator[tuple[Path, str, str]]:
    if cfg.special_tokens_in_content == "text":
        why = "the model's processor would make tokens of them all the same"
        yield ("special_tokens_in_content",), why, "write `error` or `allow`"
    backend = find_backend(cfg.attn_implementation)
    if backend is not None and backend.isolation == "varlen":
        yield ("attn_implementation",), f"{backend.name} is given no padding mask here", "set it to `sdpa`"
    if "://" in cfg.dataset_prepared_path:
        yield ("dataset_prepared_path",), "they are read from this machine", "choose a local folder"


PICTURE_RULES: tuple[Rule, ...] = (
    Rule("pictures_packed", ("processor_type", "sample_packing"), _packed),
    Rule("pictures_cut", ("processor_type", "excess_length_strategy"), _cut),
    Rule(
        "pictures_without_processor",
        ("processor_type", "datasets", "test_datasets", *PictureSection.model_fields),
        _without_processor,
    ),
    Rule("not_with_pictures", _CLASHING, _clash),
)
