"""The tables of other systems' keys are true of our settings: what they send people to exists and is accepted."""

import re
from collections.abc import Iterator

import pytest

from sft_schema import ConfigError, parse_config
from sft_schema.foreign import ANY_SYSTEM, SYSTEMS, Accepted, Answer, Key, Refusal, Rewrite, Scope
from sft_schema.foreign import sentences as say
from sft_schema.foreign.answer import no_effect, refused, renamed, same, table

SNIPPET = re.compile(r"`(\w+): ([^`]+)`")
WORD = re.compile(r"`([a-z]+(?:_[a-z0-9]+)+)`")
VALUES = {"constant_with_warmup", "adamw_torch", "adamw_torch_fused", "flash_attention_2", "flex_attention"}
NO_SETTINGS = {"merge_and_unload", "tool_calls", "reasoning_content", *VALUES}
SAMPLES = (True, False, None, 0, 1, 2, 0.5, -1, "auto", "x", "a,b", "none", [], ["x"], {}, {"a": 1})
NAMED = [
    "qlora",
    "llama-adapter",
    "adamw_bnb_8bit",
    "adamw_torch_4bit",
    "paged_adamw_32bit",
    "muon",
    "adamw_hf",
    "rex",
    "llama3",
    "chatml",
    "sharegpt",
    "pretrain",
    "alpaca:chat",
    "chat_template.default",
    "best",
    "offload",
    "full",
    "all",
    "all-linear",
    ".*q_proj",
    "wandb",
    "tensorboard",
    "freeze",
    "oft",
    "pt",
    "dpo",
    "sft",
    "lora",
    "keep_start",
    "keep_end",
    "fa2",
    "disabled",
    "csv",
    "jsonl",
    "s3://bucket/x",
    "steps",
    "epoch",
    "2e-5",
    "flash",
    "dft",
    "bfloat16",
    "LlamaForCausalLM",
    "AutoModelForImageTextToText",
    "template.jinja",
    "other/model",
    "tokenizer_default_fallback_chatml",
]


def scopes() -> Iterator[tuple[str, Scope]]:
    for name, scope in [("any", ANY_SYSTEM), *SYSTEMS.items()]:
        yield name, scope
        yield from ((f"{name}.{key}", inner) for key, inner in scope.inner.items())


SCOPES = [pytest.param(scope, id=name) for name, scope in scopes()]


def answers(scope: Scope) -> Iterator[tuple[str, Answer]]:
    for key in {*scope.rows, *scope.own}:
        for value in (*SAMPLES, *NAMED):
            answer = scope.answer(key, value)
            assert answer is not None
            yield key, answer


def told(answer: Answer) -> str:
    if isinstance(answer, Refusal):
        return f"{answer.reason}; {answer.nearest}"
    return answer.why if isinstance(answer, Rewrite) else ""


@pytest.mark.parametrize("scope", SCOPES)
def test_no_answer_names_a_setting_that_does_not_exist(scope: Scope) -> None:
    places = ANY_SYSTEM.own | ANY_SYSTEM.inner["datasets"].own
    known = scope.own or ANY_SYSTEM.own
    for key, answer in answers(scope):
        given = answer.settings if isinstance(answer, Rewrite) else {}
        instead = answer.instead if isinstance(answer, Refusal) else {}
        assert {*given, *instead} <= known, key
        for name, _ in SNIPPET.findall(told(answer)):
            assert name in places, (key, told(answer))
        for name in WORD.findall(told(answer)):
            assert name in places | NO_SETTINGS, (key, told(answer))


@pytest.mark.parametrize("scope", SCOPES)
def test_a_row_of_ours_or_with_another_name_speaks_about_settings_that_exist(scope: Scope) -> None:
    known = scope.own or ANY_SYSTEM.own
    for name, row in scope.rows.items():
        assert set(row.to) <= known, name
        assert (name in known) == (row.kind == "same"), name
        assert bool(row.to) or row.kind not in ("same", "renamed"), name


def test_every_setting_that_a_fix_writes_out_is_accepted() -> None:
    snippets = {
        snippet for _, scope in scopes() for _, answer in answers(scope) for snippet in SNIPPET.findall(told(answer))
    }
    assert len(snippets) > 20
    for name, value in sorted(snippets):
        if value in ("N", "[{path: ...}]"):
            continue
        line = f"    {name}: {value}\n" if name not in ANY_SYSTEM.own else ""
        text = f"base_model: m\nlearning_rate: 1e-4\ndatasets:\n  - path: a.jsonl\n{line}"
        codes = codes_of(text if line else f"{text}{name}: {value}\n")
        assert not codes & {"unknown_key", "wrong_value", "foreign_key", "foreign_value"}, (name, value)


def codes_of(text: str) -> set[str]:
    try:
        parse_config(text)
    except ConfigError as error:
        return {issue.code for issue in error.issues}
    return set()


@pytest.mark.parametrize("scope", SCOPES)
def test_every_refusal_has_a_reason_and_a_way_on(scope: Scope) -> None:
    for key, answer in answers(scope):
        if isinstance(answer, Refusal):
            assert answer.reason, key
            assert answer.nearest.startswith(
                (
                    "remove",
                    "write",
                    "use",
                    "choose",
                    "put",
                    "add",
                    "list",
                    "turn",
                    "rename",
                    "give",
                    "merge",
                    "cut",
                    "copy",
                    "convert",
                    "save",
                    "start",
                    "download",
                    "quantise",
                )
            ), (key, answer.nearest)
        if isinstance(answer, Rewrite) and not answer.settings:
            assert answer.why, key


def test_the_tables_have_every_key_of_the_three_systems() -> None:
    sizes = {name: len(scope.rows) for name, scope in SYSTEMS.items()}
    assert sizes["axolotl"] >= 390
    assert sizes["trl"] >= 150
    assert sizes["llamafactory"] >= 300
    for key in ["saves_per_epoch", "lora_mlp_kernel", "fsdp_config", "dion_lr", "mlflow_run_name", "orpo_alpha"]:
        assert key in SYSTEMS["axolotl"].rows
    for key in [
        "assistant_only_loss",
        "max_length",
        "packing",
        "dataset_name",
        "use_peft",
        "per_device_train_batch_size",
    ]:
        assert key in SYSTEMS["trl"].rows
    for key in [
        "cutoff_len",
        "template",
        "finetuning_type",
        "lora_target",
        "dataset",
        "neat_packing",
        "num_train_epochs",
    ]:
        assert key in SYSTEMS["llamafactory"].rows


def test_our_own_keys_are_all_axolotl_names_but_a_few() -> None:
    assert SYSTEMS["axolotl"].own - SYSTEMS["axolotl"].rows.keys() == {
        "on_bad_row",  # ours alone
        "max_minutes",
        "tokenizer_engine",
        "fused_kernels",
        "dataset_near_deduplication",
        "eval_overlap",
        "max_dropped_fraction",
        "mix_strategy",  # LLaMA-Factory's name
        "mix_by",
        "packing_strategy",  # TRL's
        "max_samples_per_pack",
        "packing_balance",
        "context_parallel_method",
        "special_tokens_in_content",
        "fetch_images",
        "max_image_pixels",
        "roles_to_train",  # axolotl has these three in an entry of `datasets` only
        "train_on_eos",
        "train_on_eot",
        "dtype",  # TRL's
        "mask_history",  # LLaMA-Factory's
        "train_on_reasoning",
        "expand_turns",
    }


def test_a_key_with_two_rows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"two rows of x for \['a'\]"):
        table("x", same("a b"), refused("reason", "fix", "a"))


def test_values_are_told_apart_by_type() -> None:
    rows = refused("reason", "fix", off="switch") | refused("reason", "fix", "degree", accepts=(1,))
    assert isinstance(rows["switch"].answer(False), Accepted)
    assert isinstance(rows["degree"].answer(1), Accepted)
    for value in (0, 0.0, "false", True, None):
        assert isinstance(rows["switch"].answer(value), Refusal)
    for value in (True, 1.0, 2):
        assert isinstance(rows["degree"].answer(value), Refusal)


def test_a_renamed_key_passes_its_value_on() -> None:
    (row,) = renamed("max_length", "sequence_len").values()
    assert row == Key("renamed", row.judge, ("sequence_len",))
    assert row.answer(7) == Rewrite({"sequence_len": 7})
    assert no_effect("why", "a")["a"].answer(3) == Rewrite({}, "why")


def test_sentences_that_are_shared_say_how_to_go_on() -> None:
    shared = {name: value for name, value in vars(say).items() if name.isupper()}
    assert len(shared) > 30
    for name, value in shared.items():
        assert value if isinstance(value, str) else all(value), name
