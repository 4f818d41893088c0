"""The chat template, its special tokens, and which roles are trained."""

from __future__ import annotations

from sft_schema.config.data import DatasetConfig, MaskSection
from sft_schema.config.root import SftConfig
from sft_schema.config.rules.data import entries
from sft_schema.config.rules.rule import Finding, Rule
from sft_schema.errors import Path

_TEMPLATE_VARIABLES = {
    "messages": "they are the row's",
    "tools": "they are the row's",
    "documents": "no row has any",
    "add_generation_prompt": "it is set where an answer is generated",
} | {f"{name}_token": "set it in `special_tokens`" for name in ("bos", "eos", "pad", "unk")}


def _jinja_template(cfg: SftConfig) -> Finding | None:
    places: list[tuple[Path, MaskSection | DatasetConfig]] = [((), cfg), *entries(cfg)]
    for path, holder in places:
        if holder.chat_template == "jinja" and holder.chat_template_jinja is None:
            fix = "add `chat_template_jinja`, a template text or the path of a .jinja file"
            return Finding((*path, "chat_template"), "`chat_template: jinja` without a template", fix)
        if holder.chat_template_jinja is not None and holder.chat_template not in (None, "tokenizer_default", "jinja"):
            message = f"chat_template_jinja has no effect with `chat_template: {holder.chat_template}`"
            return Finding((*path, "chat_template_jinja"), message, "write `chat_template: jinja`, or remove it")
    return None


def _eot_without_effect(cfg: SftConfig) -> Finding | None:
    eos = cfg.special_tokens.eos_token
    if eos is None or eos not in cfg.eot_tokens:
        return None
    for path, holder in [((), cfg), *entries(cfg)]:
        own = holder.train_on_eos or cfg.train_on_eos
        eot = holder.train_on_eot or cfg.train_on_eot
        if eot not in (None, own):
            message = f"{eos!r} is eos_token and one of eot_tokens, with train_on_eos {own!r} and train_on_eot {eot!r}"
            return Finding((*path, "train_on_eot"), message, "give both the same value")
    return None


def _reserved_template_variable(cfg: SftConfig) -> Finding | None:
    for name in cfg.chat_template_kwargs:
        if name in _TEMPLATE_VARIABLES:
            message = f"{name!r} would replace what every template is given under that name"
            return Finding(("chat_template_kwargs", name), message, f"remove it: {_TEMPLATE_VARIABLES[name]}")
    return None


def _pad_is_eos(cfg: SftConfig) -> Finding | None:
    special = cfg.special_tokens
    if special.pad_token is None or special.pad_token != special.eos_token:
        return None
    message = f"{special.pad_token!r} is pad and eos: whoever masks padding never trains the end of an answer"
    return Finding(("special_tokens", "pad_token"), message, "choose a token that ends nothing, or remove pad_token")


def _no_role_trained(cfg: SftConfig) -> Finding | None:
    for path, dataset in entries(cfg):
        inputs = cfg.train_on_inputs if dataset.train_on_inputs is None else dataset.train_on_inputs
        own = dataset.roles_to_train
        if dataset.type == "chat_template" and not inputs and not (cfg.roles_to_train if own is None else own):
            where: Path = ("roles_to_train",) if own is None else (*path, "roles_to_train")
            return Finding(where, f"no role of {dataset.path!r} is trained", "name a role, such as `[assistant]`")
    return None


def _roles_and_inputs(cfg: SftConfig) -> Finding | None:
    default = SftConfig.model_fields["roles_to_train"].default
    fix = "set `train_on_inputs: false`, or remove roles_to_train"
    if cfg.train_on_inputs and cfg.roles_to_train != default:
        return Finding(("roles_to_train",), "train_on_inputs trains every role already", fix)
    for path, dataset in entries(cfg):
        inputs = cfg.train_on_inputs if dataset.train_on_inputs is None else dataset.train_on_inputs
        if inputs and dataset.roles_to_train not in (None, default):
            return Finding((*path, "roles_to_train"), "train_on_inputs trains every role already", fix)
    return None


_ENTRIES = ("datasets", "test_datasets")
_MASK_KEYS = ("datasets", "test_datasets", "train_on_inputs", "roles_to_train")

MASK_RULES: tuple[Rule, ...] = (
    Rule("jinja_template", ("chat_template", "chat_template_jinja", "datasets", "test_datasets"), _jinja_template),
    Rule(
        "eot_is_eos", ("eot_tokens", "train_on_eot", "train_on_eos", "special_tokens", *_ENTRIES), _eot_without_effect
    ),
    Rule("reserved_template_variable", ("chat_template_kwargs",), _reserved_template_variable),
    Rule("pad_is_eos", ("special_tokens",), _pad_is_eos),
    Rule("no_role_trained", _MASK_KEYS, _no_role_trained),
    Rule("roles_without_effect", _MASK_KEYS, _roles_and_inputs),
)
