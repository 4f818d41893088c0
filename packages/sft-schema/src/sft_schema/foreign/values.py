"""Values of our own keys that other systems know and we do not, each with the nearest value that we have.

A value that stands here nowhere is judged by the setting's own type.
"""

from __future__ import annotations

import re
from typing import Any, cast, get_args

from sft_schema.config import FormatName
from sft_schema.config.loss import Plugin
from sft_schema.config.run import AnswerMetric
from sft_schema.foreign.answer import Accepted, Answer, Judge, Refusal, Rewrite, is_one_of
from sft_schema.foreign.flow import flow
from sft_schema.foreign.judges import (
    choice,
    fraction_moves_to,
    listed,
    lora_targets,
    no_limit,
    number_in_text,
    off,
    subset,
    whole_steps,
)
from sft_schema.foreign.optimizers import OPTIM_ARGS, OPTIMIZER, SCHEDULER

_ADAPTER = choice(
    {
        "llama-adapter dora adalora ia3 loha lokr oft boft vera prompt_tuning prefix_tuning p_tuning mora": Refusal(
            "this adapter is not implemented", "write `adapter: lora`", {"adapter": "lora"}
        ),
        "none full": Rewrite({}, "without `adapter` all weights are trained"),
    }
)


def _list_of(key: str) -> Judge:
    """A text where a list is wanted, as peft takes it."""
    return lambda value: listed(key)(value) if isinstance(value, str) else Accepted()


_STARTS = choice(
    {
        "eva corda lora_ga mifa daniel lora_xs": Refusal(
            "this start is worked out from samples of the data, which is not implemented",
            "write `peft_init_lora_weights: pissa`, or remove it",
        ),
    }
)
_FAST_PISSA = Refusal(
    "its start is worked out with random numbers, so a saved adapter would meet another base model when it is loaded",
    "write `peft_init_lora_weights: pissa`",
    {"peft_init_lora_weights": "pissa"},
)
_RANDOM_START = Refusal("a random B would begin away from the base model", "remove it")


def _start(value: Any) -> Answer:
    if isinstance(value, bool):
        return Rewrite({}, "adapters start that way by themselves") if value else _RANDOM_START
    return _FAST_PISSA if isinstance(value, str) and value.startswith("pissa_niter") else _STARTS(value)


def _number_format(key: str, but: tuple[str, ...] = ()) -> Judge:
    """`torch.bfloat16` and short names of number formats."""
    short = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32", "float": "float32"}

    def judge(value: Any) -> Answer:
        if not isinstance(value, str):
            return Accepted()
        name = value.removeprefix("torch.")
        name = short.get(name, name)
        if name in but:
            reason = f"products in {name} over- and underflow"
            return Refusal(reason, f"write `{key}: bfloat16`", {key: "bfloat16"})
        return Accepted() if name == value else Rewrite({key: name})

    return judge


BNB_VALUES: dict[str, Judge] = {
    "bnb_4bit_compute_dtype": _number_format("bnb_4bit_compute_dtype", but=("float16",)),
    "bnb_4bit_quant_storage": _number_format("bnb_4bit_quant_storage"),
}

_ATTENTION = choice(
    {
        "flash fa2": Rewrite({"attn_implementation": "flash_attention_2"}),
        "fa3": Rewrite({"attn_implementation": "flash_attention_3"}),
        "flex": Rewrite({"attn_implementation": "flex_attention"}),
        "sdp": Rewrite({"attn_implementation": "sdpa"}),
    }
)
"""Short names; what other backends lack is said by the table of backends itself."""

_OWN_TEMPLATE = (
    "write `chat_template: tokenizer_default`, the template that the model comes with, or `chat_template: jinja` "
    "with the text or file in `chat_template_jinja`"
)
_TEMPLATE_NAMES = choice(
    {
        "llama3_2_vision llava pixtral gemma4_unified": Refusal("it is a template for pictures", _OWN_TEMPLATE),
        "command_a command_a_tool_use command_a_rag exaone4": Refusal(
            "this template does not come with sft-data", _OWN_TEMPLATE
        ),
    }
)
_FALLBACK = "tokenizer_default_fallback_"


def _template(value: Any) -> Answer:
    """A fallback needs the tokenizer to have no template, so one that is not here may never be asked for."""
    if isinstance(value, str) and value.startswith(_FALLBACK):
        found = _TEMPLATE_NAMES(value.removeprefix(_FALLBACK))
        return found if isinstance(found, Accepted) else Rewrite({"chat_template": "tokenizer_default"})
    return _TEMPLATE_NAMES(value)


_OFFLOADED = {"gradient_checkpointing": True, "activation_offloading": True}
_TO_DISK = Refusal(
    "activations are not moved to the disk",
    "write `gradient_checkpointing: true` and `activation_offloading: true`, which moves them to the host's memory",
    _OFFLOADED,
)


def _plugins(value: Any) -> Answer:
    """Axolotl's plugins one by one: those whose work is done here may stay."""
    if not isinstance(value, list):
        return Accepted()
    names = cast("list[Any]", value)
    others = [name for name in names if name not in get_args(Plugin)]
    if not others:
        return Accepted()
    kept = [name for name in names if name not in others]
    reason = f"{', '.join(flow(name) for name in others)} cannot be loaded here"
    nearest = f"write `plugins: {flow(kept)}`" if kept else "remove it"
    return Refusal(
        reason, f"{nearest}, and remove the keys that belong to the others", {"plugins": kept} if kept else {}
    )


def _fsdp_version(value: Any) -> Answer:
    if isinstance(value, int) and value == 1:
        return Refusal("torch replaces FSDP1 by FSDP2", "write `fsdp_version: 2`", {"fsdp_version": 2})
    return Accepted()


VALUES: dict[str, Judge] = {
    "fsdp_version": _fsdp_version,
    "activation_offloading": choice(
        {"legacy hidden_states": Rewrite({"activation_offloading": True}), "disk": _TO_DISK}
    ),
    "adapter": _ADAPTER,
    "attn_implementation": _ATTENTION,
    "bf16": choice({"full": Rewrite({"bf16": True})}),
    "chat_template": _template,
    "dtype": _number_format("dtype", but=("float16",)),
    "eval_causal_lm_metrics": subset(
        "eval_causal_lm_metrics", get_args(AnswerMetric), "exact_match, chrf and rouge_l are computed"
    ),
    "eval_steps": whole_steps("eval_steps"),
    "gradient_checkpointing": choice({"offload unsloth": Rewrite(_OFFLOADED), "offload_disk": _TO_DISK}),
    "learning_rate": number_in_text("learning_rate"),
    "logging_steps": whole_steps("logging_steps"),
    "lora_modules_to_save": _list_of("lora_modules_to_save"),
    "lora_target_modules": lora_targets,
    "lora_target_parameters": _list_of("lora_target_parameters"),
    "peft_layers_pattern": _list_of("peft_layers_pattern"),
    "peft_layers_to_transform": lambda value: (
        Rewrite({"peft_layers_to_transform": [value]}) if is_one_of(value, tuple(range(1000))) else Accepted()
    ),
    "unfrozen_parameters": _list_of("unfrozen_parameters"),
    "lr_scheduler": SCHEDULER,
    "max_steps": no_limit("max_steps"),
    "mix_strategy": choice(
        {
            "interleave_once": Refusal(
                "a mix that ends unevenly has no shares that hold from its beginning to its end",
                "write `mix_strategy: concat`: all rows once, shuffled together",
                {"mix_strategy": "concat"},
            )
        }
    ),
    "optim_args": OPTIM_ARGS,
    "optimizer": OPTIMIZER,
    "peft_init_lora_weights": _start,
    "plugins": _plugins,
    "save_steps": whole_steps("save_steps"),
    "wandb_log_model": off("wandb_log_model"),
    "wandb_watch": off("wandb_watch"),
    "torch_compile": choice({"auto": Rewrite({"torch_compile": True})}),
    "warmup_steps": fraction_moves_to("warmup_ratio"),
}

_AS_MESSAGES = (
    "turn the rows into a file of `messages` (role, content) with `type: chat_template`, or into `instruction`, "
    "`input`, `output` with `type: alpaca`"
)
_PAIRS = Refusal("preference pairs are not supervised fine-tuning", "use rows of `messages` with `type: chat_template`")
_DICT_TYPE = Refusal("a prompt style of one's own, written as a mapping, is not supported", _AS_MESSAGES)
_OTHER_TYPE = Refusal("this format is not implemented", _AS_MESSAGES)
_OWN_MODULE = Refusal(
    "a function of one's own is not named by `type`",
    "write `type: custom` with `format_function: package.module:function` (or `file.py:function`); it is called with "
    "the row and this entry, and returns the columns of a `chat_template` row, or an example",
)
_TYPES = choice(
    {
        "sharegpt sharegpt.load_role sharegpt.load_guanaco": Rewrite({"type": "chat_template"}),
        "pretrain": Refusal(
            "texts are not streamed, nor cut into windows", "write `type: completion`", {"type": "completion"}
        ),
        "chat_template.default chat_template.argilla_chat chatml.intel chatml.icr llama3.icr": _PAIRS,
        "bradley_terry.chat_template stepwise_supervised": _PAIRS,
    }
)
_OWN_TYPES: tuple[str, ...] = get_args(FormatName)


def _dataset_type(value: Any) -> Answer:
    if isinstance(value, dict):
        return _DICT_TYPE
    found = _TYPES(value)
    foreign = isinstance(found, Accepted) and isinstance(value, str) and value not in _OWN_TYPES
    if not foreign:
        return found
    name = cast(str, value)
    if _looks_like_module(name):
        return _OWN_MODULE
    return _OTHER_TYPE if _looks_like_format(name) else found


_FORMATS = frozenset(
    [
        "alpaca",
        "alpaca_chat",
        "alpaca_instruct",
        "alpaca_w_system",
        "input_output",
        "user_defined",
        "context_qa",
        "creative_acr",
        "llama2_chat",
        "messages",
        "metharme",
        "orcamini",
        "pygmalion",
        "explainchoice",
        "concisechoice",
        "summarizetldr",
        "jeopardy",
        "oasst",
        "gpteacher",
        "reflection",
        "_synthetic",
    ]
)


def _looks_like_module(name: str) -> bool:
    """Whether it is a module, or a function in one, of the user's own."""
    return re.search("[.:]", name) is not None and not _looks_like_format(name)


def _looks_like_format(name: str) -> bool:
    """Whether it begins like one of axolotl's formats or of ours."""
    first = re.split("[.:]", name)[0]
    return first in _FORMATS or (first != name and first in _OWN_TYPES)


_PROTOCOLS = ("http", "https", "s3", "gs", "gcs")


def _dataset_path(value: Any) -> Answer:
    protocol, mark, _ = value.partition("://") if isinstance(value, str) else ("", "", "")
    if not mark or protocol in _PROTOCOLS:
        return Accepted()
    reason = f"{protocol}:// is not read; {', '.join(f'{each}://' for each in _PROTOCOLS)} are"
    return Refusal(reason, "copy the data to a local folder and give that path")


DATASET_VALUES: dict[str, Judge] = {
    "ds_type": choice(
        {
            "webdataset imagefolder audiofolder videofolder xml hdf5 pandas": Refusal(
                "files of this kind are not read", "convert it to .jsonl or .parquet"
            )
        }
    ),
    "path": _dataset_path,
    "type": _dataset_type,
}
