"""Rules between settings, as a table of small functions.

A rule reads a config whose single values are fine and answers with what is impossible about their
combination. All rules run on every config, so that one look shows every problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from sft_schema.attention import BACKENDS
from sft_schema.config.root import SftConfig
from sft_schema.errors import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule objects to: the setting to point at, the problem, the fix."""

    path: Path
    message: str
    fix: str


Check = Callable[[SftConfig], Finding | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. It is skipped when one of the `keys` that it reads has an issue of its own."""

    code: str
    keys: tuple[str, ...]
    check: Check


def _attention_known(cfg: SftConfig) -> Finding | None:
    name = cfg.attn_implementation
    if name in BACKENDS:
        return None
    near = get_close_matches(name, BACKENDS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    message = f"no attention backend is called {name!r}"
    return Finding(("attn_implementation",), message, f"{hint}choose one of {', '.join(BACKENDS)}")


def _packing_isolated(cfg: SftConfig) -> Finding | None:
    backend = BACKENDS.get(cfg.attn_implementation)
    if not cfg.sample_packing or backend is None or backend.attn_supports_packing:
        return None
    able = ", ".join(name for name, row in BACKENDS.items() if row.attn_supports_packing)
    message = f"sample_packing with {backend.name!r}: packed samples would attend to one another"
    return Finding(("sample_packing",), message, f"set attn_implementation to one of {able}")


def _lora_settings_need_adapter(cfg: SftConfig) -> Finding | None:
    given = sorted(key for key in cfg.model_fields_set if key.startswith("lora_"))
    if cfg.adapter is not None or not given:
        return None
    message = f"{', '.join(given)} set, but no adapter is: all weights would be trained"
    return Finding((given[0],), message, "add `adapter: lora`, or remove the lora_ settings for full fine-tuning")


def _lora_targets(cfg: SftConfig) -> Finding | None:
    if cfg.adapter is None:
        return None
    if cfg.lora_target_linear and cfg.lora_target_modules:
        message = "lora_target_linear and lora_target_modules both say which layers are adapted"
        return Finding(("lora_target_linear",), message, "keep one of the two")
    if not cfg.lora_target_linear and not cfg.lora_target_modules:
        message = "adapter: lora names no layers to adapt"
        return Finding(("adapter",), message, "add `lora_target_linear: true` or `lora_target_modules: [...]`")
    return None


def _one_warmup(cfg: SftConfig) -> Finding | None:
    if not (cfg.warmup_steps and cfg.warmup_ratio):
        return None
    message = f"warmup_steps {cfg.warmup_steps} and warmup_ratio {cfg.warmup_ratio} contradict each other"
    return Finding(("warmup_ratio",), message, "keep one of the two")


def _one_eval_source(cfg: SftConfig) -> Finding | None:
    if not (cfg.val_set_size and cfg.test_datasets):
        return None
    message = "val_set_size and test_datasets both say what to evaluate on"
    return Finding(("val_set_size",), message, "keep one of the two")


def _eval_needs_data(cfg: SftConfig) -> Finding | None:
    if cfg.val_set_size or cfg.test_datasets:
        return None
    for key, wanted in (
        ("eval_strategy", cfg.eval_strategy != "no"),
        ("do_causal_lm_eval", cfg.do_causal_lm_eval),
    ):
        if wanted:
            return Finding(
                (key,),
                f"{key} is set, but there are no rows to evaluate on",
                "add `val_set_size` or `test_datasets`",
            )
    return None


def _validation_split_is_fraction_or_count(cfg: SftConfig) -> Finding | None:
    size = cfg.val_set_size
    if size < 1 or size == int(size):
        return None
    return Finding(("val_set_size",), f"{size} is neither a fraction nor a number of rows", f"write {int(size)}")


def _steps_of(strategy: str, steps: str) -> Check:
    def check(cfg: SftConfig) -> Finding | None:
        by_steps, given = getattr(cfg, strategy) == "steps", getattr(cfg, steps) is not None
        if by_steps == given:
            return None
        if given:
            return Finding(
                (steps,),
                f"{steps} has no effect with `{strategy}: {getattr(cfg, strategy)}`",
                f"add `{strategy}: steps`",
            )
        return Finding((strategy,), f"`{strategy}: steps` without {steps}", f"add `{steps}: 100`, say")

    return check


def _jinja_template(cfg: SftConfig) -> Finding | None:
    if (cfg.chat_template == "jinja") == (cfg.chat_template_jinja is not None):
        return None
    if cfg.chat_template == "jinja":
        return Finding(
            ("chat_template",),
            "`chat_template: jinja` without a template",
            "add `chat_template_jinja`, a template text or the path of a .jinja file",
        )
    message = f"chat_template_jinja has no effect with `chat_template: {cfg.chat_template}`"
    return Finding(("chat_template_jinja",), message, "add `chat_template: jinja`")


def _reinit_with_adapter(cfg: SftConfig) -> Finding | None:
    if not (cfg.reinit_weights and cfg.adapter):
        return None
    message = "an adapter on random weights (reinit_weights) learns nothing useful"
    return Finding(("reinit_weights",), message, "remove `adapter`, or start from trained weights")


RULES: tuple[Rule, ...] = (
    Rule("unknown_attention", ("attn_implementation",), _attention_known),
    Rule("packing_not_isolated", ("attn_implementation", "sample_packing"), _packing_isolated),
    Rule("lora_without_adapter", ("adapter",), _lora_settings_need_adapter),
    Rule("lora_targets", ("adapter", "lora_target_linear", "lora_target_modules"), _lora_targets),
    Rule("two_warmups", ("warmup_steps", "warmup_ratio"), _one_warmup),
    Rule("two_eval_sources", ("val_set_size", "test_datasets"), _one_eval_source),
    Rule(
        "eval_without_data",
        ("val_set_size", "test_datasets", "eval_strategy", "do_causal_lm_eval"),
        _eval_needs_data,
    ),
    Rule("val_set_size", ("val_set_size",), _validation_split_is_fraction_or_count),
    Rule("save_steps", ("save_strategy", "save_steps"), _steps_of("save_strategy", "save_steps")),
    Rule("eval_steps", ("eval_strategy", "eval_steps"), _steps_of("eval_strategy", "eval_steps")),
    Rule("jinja_template", ("chat_template", "chat_template_jinja"), _jinja_template),
    Rule("adapter_on_random_weights", ("reinit_weights", "adapter"), _reinit_with_adapter),
)
