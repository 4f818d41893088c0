"""Values of `optimizer`, `optim_args` and `lr_scheduler` that other systems know and we do not."""

from __future__ import annotations

from typing import Any

from sft_schema.foreign.answer import Accepted, Answer, Judge, Refusal, Rewrite
from sft_schema.foreign.judges import choice
from sft_schema.yaml_source import scalar

_ADAMW = {"optimizer": "adamw_torch_fused"}
_BNB_8BIT = {"optimizer": "adamw_bnb_8bit"}
_LION = Rewrite({"optimizer": "lion_32bit"})
OPTIMIZER = choice(
    {
        "adamw_hf adamw adamw_apex_fused": Rewrite(_ADAMW),
        "paged_adamw": Rewrite({"optimizer": "paged_adamw_32bit"}),
        "lion lion_pytorch": _LION,
        "adamw_torch_8bit ao_adamw_8bit": Refusal(
            "torchao's 8-bit AdamW is not connected",
            "write `optimizer: adamw_bnb_8bit`, whose states are as small",
            _BNB_8BIT,
        ),
        "adamw_torch_4bit ao_adamw_4bit ao_adamw_fp8": Refusal(
            "optimizer states of 4 bits or float8 are not implemented",
            "write `optimizer: adamw_bnb_8bit`, whose states have 8 bits",
            _BNB_8BIT,
        ),
        "galore_adamw galore_adamw_layerwise galore_adamw_8bit galore_adamw_8bit_layerwise galore_adafactor "
        "galore_adafactor_layerwise q_galore_adamw8bit apollo_adamw apollo_adamw_layerwise": Refusal(
            "gradients are not projected to a low rank",
            "write `optimizer: adamw_bnb_8bit` for small states, or `adapter: lora` for few weights",
            _BNB_8BIT,
        ),
        "lomo adalomo": Refusal(
            "weights are not updated during the backward pass, which would leave gradient clipping out",
            "write `optimizer: adafactor`, whose states are small too",
            {"optimizer": "adafactor"},
        ),
        "dion": Refusal("Dion is not implemented", "write `optimizer: muon`", {"optimizer": "muon"}),
        "adamw_torch_xla adamw_torch_npu_fused": Refusal(
            "it is for devices that are not supported", "write `optimizer: adamw_torch_fused`", _ADAMW
        ),
        "adamw_anyprecision adopt_adamw came_pytorch flash_adam flash_adamw flash_lion flash_sgd flash_sgdw grokadamw "
        "optimi_adamw sinkgd stable_adamw": Refusal(
            "this optimizer is not implemented",
            "write `optimizer: adamw_torch_fused`; a learning rate that was chosen for another optimizer may not fit",
            _ADAMW,
        ),
    }
)


def _optim_args(value: Any) -> Answer:
    """Transformers writes them as a text: `a=1,b=true`."""
    if not isinstance(value, str):
        return Accepted()
    pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
    return Rewrite({"optim_args": {name.strip(): scalar(text.strip()) for name, _, text in pairs}})


SCHEDULER = choice(
    {
        "wsd": Rewrite({"lr_scheduler": "warmup_stable_decay"}),
        "cosine_with_min_lr cosine_warmup_with_min_lr": Refusal(
            "the lowest rate is a part of the peak here",
            "write `lr_scheduler: cosine` and `cosine_min_lr_ratio: 0.1`, say",
            {"lr_scheduler": "cosine"},
        ),
        "reduce_lr_on_plateau greedy": Refusal(
            "the learning rate does not follow the loss",
            "write `lr_scheduler: cosine`, or another that is known from the start",
            {"lr_scheduler": "cosine"},
        ),
    }
)

OPTIM_ARGS: Judge = _optim_args
