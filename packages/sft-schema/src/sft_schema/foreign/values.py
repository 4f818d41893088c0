"""Values of our own keys that other systems know and we do not, each with the nearest value that we have.

A value that stands here nowhere is judged by the setting's own type.
"""

from __future__ import annotations

from typing import Any, cast

from sft_schema.foreign.answer import Accepted, Answer, Judge, Refusal, Rewrite
from sft_schema.foreign.judges import (
    choice,
    fraction_moves_to,
    listed,
    lora_targets,
    no_limit,
    number_in_text,
    subset,
    whole_steps,
)

_ADAMW = {"optimizer": "adamw_torch_fused"}
_SMALL_STATES = "write `optimizer: adamw_torch_fused`, or `adafactor` when its states do not fit into memory"
_OPTIMIZER = choice(
    {
        "adamw_hf adamw adamw_apex_fused": Rewrite(_ADAMW),
        "adamw_bnb_8bit adamw_8bit adamw_torch_8bit ao_adamw_8bit paged_adamw_8bit ademamix_8bit paged_ademamix_8bit "
        "lion_8bit paged_lion_8bit rmsprop_bnb_8bit galore_adamw_8bit galore_adamw_8bit_layerwise "
        "q_galore_adamw8bit": Refusal("optimizer states of 8 bits are not implemented", _SMALL_STATES, _ADAMW),
        "adamw_torch_4bit ao_adamw_4bit ao_adamw_fp8": Refusal(
            "optimizer states of 4 bits or float8 are not implemented", _SMALL_STATES, _ADAMW
        ),
        "paged_adamw paged_adamw_32bit paged_ademamix_32bit paged_lion_32bit": Refusal(
            "optimizer states that move to the host's memory are not implemented", _SMALL_STATES, _ADAMW
        ),
        "adamw_torch_xla adamw_torch_npu_fused adamw_anyprecision ademamix adagrad adalomo adopt_adamw apollo_adamw "
        "apollo_adamw_layerwise came_pytorch dion flash_adam flash_adamw flash_lion flash_sgd flash_sgdw "
        "galore_adafactor galore_adafactor_layerwise galore_adamw galore_adamw_layerwise grokadamw lion lion_32bit "
        "lion_pytorch lomo muon optimi_adamw rmsprop rmsprop_bnb rmsprop_bnb_32bit schedule_free_adamw "
        "schedule_free_radam schedule_free_sgd sinkgd stable_adamw": Refusal(
            "this optimizer is not implemented",
            "write `optimizer: adamw_torch_fused`, `adamw_torch`, `adafactor` or `sgd`; a learning rate that was "
            "chosen for another optimizer will not fit",
            _ADAMW,
        ),
    }
)

_SCHEDULER = choice(
    {
        "rex one_cycle cosine_with_restarts polynomial inverse_sqrt reduce_lr_on_plateau cosine_with_min_lr "
        "cosine_warmup_with_min_lr warmup_stable_decay greedy": Refusal(
            "this schedule is not implemented",
            "write `lr_scheduler: cosine`, `linear`, `constant` or `constant_with_warmup`",
            {"lr_scheduler": "cosine"},
        )
    }
)

QLORA = Refusal(
    "base models in 4 bits are not available yet",
    "write `adapter: lora`: the same adapter on the model as it is, which takes more memory",
    {"adapter": "lora"},
)
_ADAPTER = choice(
    {
        "qlora": QLORA,
        "llama-adapter dora adalora ia3 loha lokr oft boft vera prompt_tuning prefix_tuning p_tuning mora": Refusal(
            "this adapter is not implemented", "write `adapter: lora`", {"adapter": "lora"}
        ),
        "none full": Rewrite({}, "without `adapter` all weights are trained"),
    }
)

_ATTENTION = choice(
    {
        "flash fa2": Rewrite({"attn_implementation": "flash_attention_2"}),
        "fa3": Rewrite({"attn_implementation": "flash_attention_3"}),
        "flex": Rewrite({"attn_implementation": "flex_attention"}),
        "sdp": Rewrite({"attn_implementation": "sdpa"}),
    }
)
"""Short names; what other backends lack is said by the table of backends itself."""

_AXOLOTL_TEMPLATES = (
    "alpaca mistral_v1 mistral_v2v3 mistral_v3_tekken mistral_v7_tekken gemma gemma3 gemma3n gemma4 gemma4_unified "
    "cohere command_a command_a_tool_use command_a_rag llama3 llama3_2_vision llama4 llava phi_3 phi_35 phi_4 "
    "deepseek_v2 deepseek_v3 jamba qwen_25 qwen3 qwen3_5 qwen2_vl exaone exaone4 metharme pixtral aya falcon_h1 "
    "nemotron_h"
)
_OWN_TEMPLATE = (
    "write `chat_template: tokenizer_default`, the template that the model comes with, or `chat_template: jinja` "
    "with the text or file in `chat_template_jinja`"
)
_TEMPLATE_NAMES = choice(
    {_AXOLOTL_TEMPLATES: Refusal("it names a template text that comes with axolotl, not with the model", _OWN_TEMPLATE)}
)
_NO_FALLBACK = Refusal("there is no fallback for a tokenizer without a template", _OWN_TEMPLATE)


def _template(value: Any) -> Answer:
    fallback = isinstance(value, str) and value.startswith("tokenizer_default_fallback")
    return _NO_FALLBACK if fallback else _TEMPLATE_NAMES(value)


_OFFLOAD = Refusal(
    "activations are not moved to the host's memory or the disk",
    "write `gradient_checkpointing: true`",
    {"gradient_checkpointing": True},
)

VALUES: dict[str, Judge] = {
    "adapter": _ADAPTER,
    "attn_implementation": _ATTENTION,
    "bf16": choice({"full": Rewrite({"bf16": True})}),
    "chat_template": _template,
    "eval_causal_lm_metrics": subset("eval_causal_lm_metrics", ("exact_match",), "only exact_match is computed"),
    "eval_steps": whole_steps("eval_steps"),
    "gradient_checkpointing": choice({"offload offload_disk unsloth": _OFFLOAD}),
    "learning_rate": number_in_text("learning_rate"),
    "logging_steps": whole_steps("logging_steps"),
    "lora_modules_to_save": lambda value: (
        listed("lora_modules_to_save")(value) if isinstance(value, str) else Accepted()
    ),
    "lora_target_modules": lora_targets,
    "lr_scheduler": _SCHEDULER,
    "max_steps": no_limit("max_steps"),
    "optimizer": _OPTIMIZER,
    "save_steps": whole_steps("save_steps"),
    "save_strategy": choice(
        {
            "best": Refusal(
                "checkpoints are not chosen by a metric",
                "write `save_strategy: epoch`; `save_total_limit` keeps the newest",
                {"save_strategy": "epoch"},
            )
        }
    ),
    "warmup_steps": fraction_moves_to("warmup_ratio"),
}

_SHAREGPT = {
    "type": "chat_template",
    "field_messages": "conversations",
    "message_property_mappings": {"role": "from", "content": "value"},
}
_AS_MESSAGES = (
    "turn the rows into a file of `messages` (role, content) with `type: chat_template`, or into `instruction`, "
    "`input`, `output` with `type: alpaca`"
)
_PAIRS = Refusal("preference pairs are not supervised fine-tuning", "use rows of `messages` with `type: chat_template`")
_DICT_TYPE = Refusal("a prompt style of one's own, written as a mapping, is not supported", _AS_MESSAGES)
_OTHER_TYPE = Refusal("this format is not implemented", _AS_MESSAGES)
_TYPES = choice(
    {
        "sharegpt": Refusal(
            "rows with `conversations` are read by `chat_template`",
            "write `type: chat_template`, `field_messages: conversations` and "
            "`message_property_mappings: {role: from, content: value}`; roles must be called user and assistant",
            _SHAREGPT,
        ),
        "pretrain": Refusal(
            "texts are not streamed, nor cut into windows", "write `type: completion`", {"type": "completion"}
        ),
        "chat_template.default chat_template.argilla_chat chatml.intel chatml.icr llama3.icr": _PAIRS,
        "bradley_terry.chat_template stepwise_supervised": _PAIRS,
    }
)
_OWN_TYPES = ("chat_template", "alpaca", "completion")


def _dataset_type(value: Any) -> Answer:
    if isinstance(value, dict):
        return _DICT_TYPE
    found = _TYPES(value)
    foreign = isinstance(found, Accepted) and isinstance(value, str) and value not in _OWN_TYPES
    return _OTHER_TYPE if foreign and _looks_like_format(cast(str, value)) else found


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


def _looks_like_format(name: str) -> bool:
    """Whether it is one of axolotl's formats, or a module of the user's own; else a name of ours may be misspelt."""
    return "." in name or name.partition(":")[0] in _FORMATS


def _dataset_path(value: Any) -> Answer:
    remote = isinstance(value, str) and "://" in value
    reason = "data sets are read from local files and the hub only"
    return Refusal(reason, "copy it to a local folder and give that path") if remote else Accepted()


DATASET_VALUES: dict[str, Judge] = {
    "ds_type": choice(
        {
            "csv text arrow": Refusal("files of this kind are not read", "convert it to .jsonl or .parquet"),
            "jsonl": Rewrite({"ds_type": "json"}),
        }
    ),
    "path": _dataset_path,
    "type": _dataset_type,
}
