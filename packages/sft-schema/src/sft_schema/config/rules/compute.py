"""Number formats, memory and the loss."""

from __future__ import annotations

from sft_schema.config.root import SftConfig
from sft_schema.config.rules.rule import Finding, Rule

_COMPILER = ("torch_compile_backend", "torch_compile_mode")


def _two_halves(cfg: SftConfig) -> Finding | None:
    if not (cfg.fp16 and cfg.bf16 is True):
        return None
    return Finding(("fp16",), "fp16 and bf16 are two formats to compute in", "keep one; bf16 needs no loss scaling")


def _halves_held(cfg: SftConfig) -> Finding | None:
    if cfg.dtype != "bfloat16" or (cfg.bf16 is not False and not cfg.fp16):
        return None
    computed = "float16" if cfg.fp16 else "float32"
    message = f"dtype bfloat16 holds weights in fewer digits than the {computed} that is computed in"
    return Finding(("dtype",), message, "set `bf16: auto`, or `dtype: auto`")


def _recomputing(cfg: SftConfig) -> Finding | None:
    if not cfg.gradient_checkpointing_kwargs.use_reentrant:
        return None
    path = ("gradient_checkpointing_kwargs", "use_reentrant")
    if not cfg.gradient_checkpointing:
        message = "use_reentrant has no effect without gradient_checkpointing"
        return Finding(path, message, "add `gradient_checkpointing: true`, or remove it")
    if cfg.torch_compile:
        message = "torch.compile cannot look into activations that are recomputed by re-entering the backward pass"
        return Finding(path, message, "write `use_reentrant: false`, which gives the same gradients")
    return None


def _compiler(cfg: SftConfig) -> Finding | None:
    given = next((key for key in _COMPILER if getattr(cfg, key) is not None), None)
    if not cfg.torch_compile:
        message = f"{given} has no effect without torch_compile"
        return Finding((given,), message, "add `torch_compile: true`, or remove it") if given else None
    for key, value in (("neftune_noise_alpha", cfg.neftune_noise_alpha), ("chunked_cross_entropy", chunked(cfg))):
        if value:
            message = f"{key} changes what a layer does from call to call, which a compiled model does not see"
            return Finding(("torch_compile",), message, f"remove torch_compile or {key}")
    return None


def chunked(cfg: SftConfig) -> bool:
    """Whether the logits are computed in parts."""
    return cfg.chunked_cross_entropy or (bool(cfg.plugins) if cfg.cut_cross_entropy is None else cfg.cut_cross_entropy)


def _loss(cfg: SftConfig) -> Finding | None:
    default = SftConfig.model_fields["chunked_cross_entropy_num_chunks"].default
    if cfg.chunked_cross_entropy and cfg.cut_cross_entropy is not None:
        message = "chunked_cross_entropy and cut_cross_entropy are one setting with two names"
        return Finding(("cut_cross_entropy",), message, "remove it")
    if cfg.plugins and cfg.cut_cross_entropy is False:
        message = "cut_cross_entropy is off and CutCrossEntropyPlugin asks for it"
        return Finding(("cut_cross_entropy",), message, "keep one of the two")
    if not chunked(cfg) and cfg.chunked_cross_entropy_num_chunks != default:
        message = "chunked_cross_entropy_num_chunks has no effect without chunked_cross_entropy"
        return Finding(("chunked_cross_entropy_num_chunks",), message, "add `chunked_cross_entropy: true`")
    return None


_LOSS = ("chunked_cross_entropy", "chunked_cross_entropy_num_chunks", "cut_cross_entropy", "plugins")

COMPUTE_RULES: tuple[Rule, ...] = (
    Rule("two_half_precisions", ("fp16", "bf16"), _two_halves),
    Rule("held_in_bfloat16", ("dtype", "bf16", "fp16"), _halves_held),
    Rule(
        "reentrant_checkpointing",
        ("gradient_checkpointing", "gradient_checkpointing_kwargs", "torch_compile"),
        _recomputing,
    ),
    Rule("compiled", ("torch_compile", *_COMPILER, "neftune_noise_alpha", *_LOSS), _compiler),
    Rule("chunked_loss", _LOSS, _loss),
)
