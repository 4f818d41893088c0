"""FSDP2 and DeepSpeed: what either of them would fail on, or do otherwise than the settings beside it say."""

from __future__ import annotations

from typing import Any, cast

from sft_schema.config.root import SftConfig
from sft_schema.config.rules.compute import chunked
from sft_schema.config.rules.rule import Finding, Rule
from sft_schema.config.shard import FsdpSettings, is_sharded, stage_of
from sft_schema.config.train import accumulation_steps
from sft_schema.optim import OPTIMIZERS

_ENGINES = ("fsdp_version", "fsdp_config", "deepspeed")
_OWN_SECTIONS = {
    "optimizer": "`optimizer`, `learning_rate`, `weight_decay` and `optim_args` build the optimizer",
    "scheduler": "`lr_scheduler` and the warm-up settings build the schedule",
    "tensor_parallel": "models are not split inside of layers",
    "pipeline": "models are not split into stages",
    "amp": "`bf16` and `fp16` say what is computed in",
    "torch_autocast": "`bf16` and `fp16` say what is computed in",
    "data_efficiency": "the order of the rows is the run's own",
    "curriculum_learning": "the order of the rows is the run's own",
}


def _two_engines(cfg: SftConfig) -> Finding | None:
    if cfg.deepspeed is None or (cfg.fsdp_version is None and cfg.fsdp_config is None):
        return None
    return Finding(("deepspeed",), "FSDP and DeepSpeed both share the model out", "keep `fsdp_version` or `deepspeed`")


def _fsdp_is_off(cfg: SftConfig) -> Finding | None:
    if cfg.fsdp_config is None or cfg.fsdp_version is not None:
        return None
    return Finding(("fsdp_config",), "fsdp_config has no effect without fsdp_version", "add `fsdp_version: 2`")


def _wrapping(cfg: SftConfig) -> Finding | None:
    fsdp = cfg.fsdp_config
    if not isinstance(fsdp, FsdpSettings):
        return None
    policy = fsdp.auto_wrap_policy
    if (policy == "SIZE_BASED_WRAP") != (fsdp.min_num_params is not None):
        message = "min_num_params and `auto_wrap_policy: SIZE_BASED_WRAP` go together"
        return Finding(("fsdp_config", "min_num_params"), message, "give both, or neither for one layer at a time")
    if fsdp.transformer_layer_cls_to_wrap and policy != "TRANSFORMER_BASED_WRAP":
        message = f"transformer_layer_cls_to_wrap has no effect with `auto_wrap_policy: {policy}`"
        return Finding(("fsdp_config", "transformer_layer_cls_to_wrap"), message, "keep one of the two")
    if not fsdp.offload_params and not fsdp.cpu_offload_pin_memory:
        message = "cpu_offload_pin_memory has no effect without offload_params"
        return Finding(("fsdp_config", "cpu_offload_pin_memory"), message, "add `offload_params: true`, or remove it")
    return None


def _recomputed_twice(cfg: SftConfig) -> Finding | None:
    fsdp = cfg.fsdp_config
    if not (isinstance(fsdp, FsdpSettings) and fsdp.activation_checkpointing and cfg.gradient_checkpointing):
        return None
    message = "gradient_checkpointing and fsdp_config.activation_checkpointing would recompute every layer twice"
    return Finding(("gradient_checkpointing",), message, "keep `activation_checkpointing` in `fsdp_config`")


def _optimizer(cfg: SftConfig) -> Finding | None:
    if not is_sharded(cfg) or OPTIMIZERS[cfg.optimizer].shards:
        return None
    able = ", ".join(name for name, row in OPTIMIZERS.items() if row.shards)
    message = f"{cfg.optimizer} cannot work on the parts of weights that each process holds"
    return Finding(("optimizer",), message, f"choose one of {able}")


def _quantised(cfg: SftConfig) -> Finding | None:
    if cfg.load_in_8bit and (cfg.fsdp_version is not None or stage_of(cfg.deepspeed) == 3):
        return Finding(("load_in_8bit",), "weights in 8 bits cannot be sharded", "write `load_in_4bit: true`")
    if cfg.load_in_4bit and stage_of(cfg.deepspeed) == 3:
        message = "ZeRO 3 cannot share out weights in 4 bits"
        return Finding(("load_in_4bit",), message, "write `deepspeed: zero2`, or `fsdp_version: 2` in its place")
    if not cfg.load_in_4bit or cfg.fsdp_version is None:
        return None
    stored = cfg.bnb_config_kwargs.bnb_4bit_quant_storage
    wanted = {True: "bfloat16", False: "float32"}.get(cfg.bf16) if isinstance(cfg.bf16, bool) else None
    if stored in ("bfloat16", "float32") if wanted is None else stored == wanted:
        return None
    message = f"4-bit weights that are stored as {stored} cannot be sharded and gathered unchanged"
    fix = f"write `bnb_4bit_quant_storage: {wanted or 'bfloat16'}`, what the run computes in, in bnb_config_kwargs"
    return Finding(("load_in_4bit",), message, fix)


def _not_with_shards(cfg: SftConfig) -> Finding | None:
    if not is_sharded(cfg):
        return None
    unable = {
        "activation_offloading": (cfg.activation_offloading, "would keep gathered weights too"),
        "save_only_model": (cfg.save_only_model and cfg.load_best_model_at_end, "leaves out what brings back the best"),
        "neftune_noise_alpha": (bool(cfg.neftune_noise_alpha), "changes the output of a layer that is sharded"),
        "unfrozen_parameters": (
            any("[" in each for each in cfg.unfrozen_parameters),
            "freezes rows of a sharded weight",
        ),
        "chunked_cross_entropy": (stage_of(cfg.deepspeed) == 3 and chunked(cfg), "needs the weights of the head"),
        "do_causal_lm_eval": (cfg.do_causal_lm_eval, "generates on each process alone, which holds but a part"),
        "fp16": (cfg.fp16, "has a loss scale that is not kept in their checkpoints"),
    }
    key = next((key for key, (wanted, _) in unable.items() if wanted), None)
    if key is None:
        return None
    engine = "DeepSpeed" if cfg.deepspeed is not None else "FSDP"
    return Finding((key,), f"{key} {unable[key][1]}, under {engine}", f"remove {key}, or {engine}")


def _deepspeed(cfg: SftConfig) -> Finding | None:
    settings = cfg.deepspeed
    if not isinstance(settings, dict):
        return None
    zero = settings.get("zero_optimization")
    stage = cast("dict[str, Any]", zero).get("stage") if isinstance(zero, dict) else None
    if stage not in (1, 2, 3):
        message = f"zero_optimization.stage must be 1, 2 or 3, but is {stage!r}"
        return Finding(("deepspeed",), message, "write `deepspeed: zero2`, or `zero_optimization: {stage: 2}`")
    own = next((key for key in _OWN_SECTIONS if settings.get(key)), None)
    if own is not None:
        return Finding(("deepspeed", own), f"{own} is not DeepSpeed's to decide: {_OWN_SECTIONS[own]}", "remove it")
    return _offloading(settings, cast("dict[str, Any]", zero), stage)


def _offloading(settings: dict[str, Any], zero: dict[str, Any], stage: int) -> Finding | None:
    path = ("deepspeed", "zero_optimization")
    if zero.get("offload_param") and stage != 3:
        return Finding((*path, "offload_param"), f"ZeRO {stage} has whole weights, which stay", "write `stage: 3`")
    if zero.get("stage3_gather_16bit_weights_on_model_save") is False:
        message = "stage3_gather_16bit_weights_on_model_save is off, and the result is always one whole model"
        return Finding((*path, "stage3_gather_16bit_weights_on_model_save"), message, "remove it")
    if zero.get("offload_optimizer") and settings.get("zero_force_ds_cpu_optimizer") is not False:
        message = "DeepSpeed takes only an optimizer of its own beside offload_optimizer, and the run's is torch's"
        return Finding((*path, "offload_optimizer"), message, "add `zero_force_ds_cpu_optimizer: false` beside it")
    return None


def _deepspeed_agrees(cfg: SftConfig) -> Finding | None:
    settings = cfg.deepspeed
    if not isinstance(settings, dict):
        return None
    steps = accumulation_steps(cfg)
    wanted: dict[str, tuple[Any, str]] = {
        "train_micro_batch_size_per_gpu": (cfg.micro_batch_size, "micro_batch_size"),
        "gradient_accumulation_steps": (steps, "gradient_accumulation_steps"),
        "gradient_clipping": (cfg.max_grad_norm, "max_grad_norm"),
    }
    for key, (value, ours) in wanted.items():
        if settings.get(key, "auto") not in ("auto", value):
            return Finding(("deepspeed", key), f"{key} is {settings[key]!r}, and {ours} is {value}", "write `auto`")
    whole = settings.get("train_batch_size", "auto")
    if whole != "auto" and (not isinstance(whole, int) or whole % (cfg.micro_batch_size * steps)):
        message = f"train_batch_size {whole!r} is no multiple of micro_batch_size x gradient_accumulation_steps"
        return Finding(("deepspeed", "train_batch_size"), message, "write `auto`")
    return _formats_agree(settings, cfg)


def _formats_agree(settings: dict[str, Any], cfg: SftConfig) -> Finding | None:
    for key, value in (("bf16", cfg.bf16), ("fp16", cfg.fp16)):
        section = settings.get(key)
        said = cast("dict[str, Any]", section).get("enabled", "auto") if isinstance(section, dict) else "auto"
        if said not in ("auto", value):
            return Finding(("deepspeed", key), f"{key}.enabled is {said!r}, and {key} is {value!r}", "write `auto`")
    return None


_BITS = ("load_in_4bit", "load_in_8bit", "bnb_config_kwargs", "bf16")
_UNABLE = (
    "activation_offloading", "save_only_model", "load_best_model_at_end", "neftune_noise_alpha", "unfrozen_parameters",
    "do_causal_lm_eval", "fp16", "chunked_cross_entropy", "cut_cross_entropy", "plugins",
)  # fmt: skip

SHARDING_RULES: tuple[Rule, ...] = (
    Rule("two_engines", _ENGINES, _two_engines),
    Rule("fsdp_is_off", _ENGINES, _fsdp_is_off),
    Rule("fsdp_wrapping", _ENGINES, _wrapping),
    Rule("recomputed_twice", (*_ENGINES, "gradient_checkpointing"), _recomputed_twice),
    Rule("optimizer_on_shards", (*_ENGINES, "optimizer"), _optimizer),
    Rule("quantised_shards", (*_ENGINES, *_BITS), _quantised),
    Rule("not_with_shards", (*_ENGINES, *_UNABLE), _not_with_shards),
    Rule("deepspeed_config", _ENGINES, _deepspeed),
    Rule(
        "deepspeed_differs",
        (*_ENGINES, "micro_batch_size", "gradient_accumulation_steps", "batch_size", "max_grad_norm", "bf16", "fp16"),
        _deepspeed_agrees,
    ),
)
