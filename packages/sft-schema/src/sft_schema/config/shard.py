"""How a model that does not fit one device is shared out over several: FSDP2 or DeepSpeed."""

from __future__ import annotations

from typing import Any, Literal

from sft_schema.config.section import Section, setting

WrapPolicy = Literal["TRANSFORMER_BASED_WRAP", "SIZE_BASED_WRAP", "NO_WRAP"]
StateDictType = Literal["FULL_STATE_DICT", "SHARDED_STATE_DICT"]


class FsdpSettings(Section):
    """How FSDP2 shards a model; names as in axolotl and accelerate, where a leading `fsdp_` may stand too."""

    activation_checkpointing: bool = setting(
        "Recompute the activations of each wrapped layer in the backward pass; in place of `gradient_checkpointing`.",
        False,
    )
    offload_params: bool = setting("Keep shards of weights, gradients and optimizer in the host's memory.", False)
    cpu_offload_pin_memory: bool = setting("Keep offloaded shards in page-locked memory.", True)
    reshard_after_forward: bool = setting(
        "Give a layer's gathered weights back after the forward pass and gather them again for the backward pass.", True
    )
    auto_wrap_policy: WrapPolicy = setting(
        "What is gathered together: a layer, a number of weights, all.", "TRANSFORMER_BASED_WRAP"
    )
    transformer_layer_cls_to_wrap: str | tuple[str, ...] = setting(
        "Classes of the layers that are gathered one at a time, as a list or separated by commas; empty means those "
        "that the model itself names.",
        (),
    )
    min_num_params: int | None = setting("Weights that are gathered together, with SIZE_BASED_WRAP.", None, ge=1)
    state_dict_type: StateDictType = setting(
        "Checkpoints are one file for all, or a part from each process; the result is always one model.",
        "FULL_STATE_DICT",
    )


class ShardingSection(Section):
    """Weights, gradients and optimizer states shared out over processes. Without it each has a whole copy."""

    fsdp_version: Literal[2] | None = setting("Shard the model with FSDP2; 2 where `fsdp_config` is given.", None)
    fsdp_config: FsdpSettings | str | None = setting(
        "How FSDP2 shards: settings, or the path of a JSON or YAML file that holds them.", None
    )
    deepspeed: dict[str, Any] | str | None = setting(
        "DeepSpeed's own config, the path of a JSON file that holds one, or one of the names that are shipped: zero1, "
        "zero2, zero2_offload, zero3, zero3_offload.",
        None,
    )


def stage_of(deepspeed: Any) -> int:
    """The ZeRO stage in a config for DeepSpeed; 0 when there is none."""
    zero: Any = deepspeed.get("zero_optimization") if isinstance(deepspeed, dict) else None  # pyright: ignore
    stage: Any = zero.get("stage") if isinstance(zero, dict) else None  # pyright: ignore
    return stage if stage in (1, 2, 3) else 0


def is_sharded(cfg: ShardingSection) -> bool:
    """Whether an engine shares the model or its optimizer out."""
    return cfg.fsdp_version is not None or cfg.deepspeed is not None
