"""LLaMA-Factory's keys about data."""

from __future__ import annotations

from typing import Any

from sft_schema.foreign import sentences as say
from sft_schema.foreign.answer import Answer, Refusal, Rewrite, judged, no_effect, refused, renamed, same
from sft_schema.foreign.judges import switch

_REGISTERED = "its data sets are names of dataset_info.json, which says where their files are and how rows look"


def _registered(key: str, said: str) -> Any:
    """Names of data sets, with made-up paths in their place: the run stops at them until they are filled in."""

    def judge(value: Any) -> Answer:
        names = value if isinstance(value, list) else str(value).split(",")  # pyright: ignore
        entries = [{"path": f"./PATH-OF-{str(name).strip()}.jsonl"} for name in names]  # pyright: ignore
        return Refusal(_REGISTERED, f"write `{key}: [{{path: ...}}]` with {said}", {key: entries})

    return judge


def _thinking(value: Any) -> Answer:
    return Rewrite({"chat_template_kwargs": {"enable_thinking": value}})


DATA = (
    judged("dataset", _registered("datasets", "the data set's file or hub id"), to="datasets"),
    judged("eval_dataset", _registered("test_datasets", "the data set's file or hub id"), to="test_datasets"),
    refused(_REGISTERED, "remove it and write paths in `datasets`", "dataset_dir media_dir"),
    renamed("cutoff_len", "sequence_len"),
    renamed("val_size", "val_set_size"),
    renamed("train_on_prompt", "train_on_inputs"),
    renamed("packing", "sample_packing"),
    renamed("neat_packing", "sample_packing", switch({"sample_packing": True})),
    renamed("tokenized_path", "dataset_prepared_path"),
    renamed("enable_thinking", "chat_template_kwargs", _thinking),
    refused(
        "it names a template written in LLaMA-Factory's own code",
        "remove it; `chat_template: tokenizer_default` is the template that the model comes with",
        "template",
    ),
    same("mask_history"),
    refused(
        "data sets are used whole",
        "write a part such as `split: train[:1000]` for each",
        "max_samples",
    ),
    same("mix_strategy"),
    refused(
        "shares are given to data sets one by one",
        "remove it and write `weight` in each entry of `datasets`",
        "interleave_probs",
    ),
    refused(*say.STREAMED, "buffer_size", off="streaming"),
    refused(
        "tools are written by the chat template of the model",
        "remove it and give `tools` and `tool_calls` in the rows",
        "tool_format",
    ),
    refused(*say.SYSTEM_MESSAGE, "default_system"),
    refused("which reasoning stays is the template's own business", "remove it", off="preserve_thinking"),
    refused("each data set has no loss of its own in evaluation", "remove it", off="eval_on_each_dataset"),
    refused("the data's order is a random choice of `seed`", "remove it and write `seed`", off="disable_shuffling"),
    renamed("preprocessing_num_workers", "dataset_num_proc"),
    no_effect(
        "what is prepared is used again only when nothing changed",
        "overwrite_cache preprocessing_batch_size data_shared_file_system",
    ),
    no_effect("padding is never trained: there is none", "ignore_pad_token_for_loss", accepts=(True,)),
)
