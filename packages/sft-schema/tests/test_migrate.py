"""A whole file of another system becomes one of ours; what changed and what did not fit is listed."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_schema import ConfigError, SftConfig, parse_config
from sft_schema.foreign import ANY_SYSTEM, SYSTEMS, System
from sft_schema.migrate import Migration, Source, Unsupported, migrate
from sft_schema.migrate.complete import DEFAULTS

CONFIGS = Path(__file__).parent / "configs"
FILES = sorted(CONFIGS.glob("*/*.y*ml"))


def read(name: str) -> str:
    return (CONFIGS / name).read_text(encoding="utf-8")


def changes(found: Migration) -> dict[str, str]:
    return {each.key: each.after for each in found.changed}


def left_out(found: Migration) -> list[str]:
    return [each.key for each in found.unsupported]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_the_new_file_loads_and_every_old_key_is_accounted_for(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    found = migrate(text)
    assert found.source == file.parent.name
    cfg = parse_config(found.text)
    old = {key: value for key, value in yaml.safe_load(text).items() if value is not None}
    named = {each.key.partition("[")[0].partition(".")[0] for each in (*found.changed, *found.unsupported)}
    assert old.keys() <= named | cfg.model_fields_set
    for each in found.unsupported:
        assert each.reason
        assert each.nearest
        assert f"# {each.key}" in found.text


def test_an_axolotl_file_that_fits_keeps_its_words() -> None:
    found = migrate(read("axolotl/lora-chat.yaml"))
    assert found.unsupported == ()
    assert found.why.startswith("only axolotl has adapter, base_model")
    old, new = parse_config(read("axolotl/lora-chat.yaml")), parse_config(found.text)
    differs = {name for name in SftConfig.model_fields if getattr(old, name) != getattr(new, name)}
    assert differs == {"excess_length_strategy", "eval_batch_size"}
    assert "excess_length_strategy: drop  # the default of axolotl\n" in found.text
    assert "Not carried over" not in found.text
    assert changes(found)["model_type"] == ""


def test_a_qlora_file_stays_one() -> None:
    found = migrate(read("axolotl/qlora-alpaca.yaml"))
    cfg = parse_config(found.text)
    assert (cfg.adapter, cfg.lora_r, cfg.lora_target_linear, cfg.lora_target_modules) == ("qlora", 32, True, ())
    assert (cfg.load_in_4bit, cfg.load_in_8bit) == (True, False)
    assert (cfg.optimizer, cfg.lr_scheduler, cfg.warmup_ratio) == ("adamw_bnb_8bit", "rex", 0.1)
    assert (cfg.attn_implementation, cfg.gradient_checkpointing) == ("flash_attention_2", True)
    assert [dataset.type for dataset in cfg.datasets] == ["alpaca", "chat_template", "chat_template"]
    assert changes(found)["datasets[1].type"] == "type: chat_template"
    assert cfg.special_tokens.pad_token == "<|end|>"
    assert left_out(found) == [
        *("special_tokens.additional_special_tokens",),
    ]
    assert (cfg.save_strategy, cfg.saves_per_epoch, cfg.evals_per_epoch) == ("steps", 1, 4)


def test_misspelt_keys_and_older_yaml_are_understood() -> None:
    found = migrate(read("axolotl/full-fsdp.yml"))
    cfg = parse_config(found.text)
    assert (cfg.sequence_len, cfg.sample_packing, cfg.learning_rate) == (8192, True, 1e-5)
    assert (cfg.save_strategy, cfg.save_steps, cfg.warmup_ratio) == ("steps", 50, 0.03)
    fixes = {each.key: each.nearest for each in found.unsupported}
    assert fixes["context_parapllel_size"].startswith("did you mean 'context_parallel_size'?")
    assert fixes["fsdp_config.reshard_after_foward"].startswith("did you mean 'reshard_after_forward'?")


def test_a_trl_file_gets_our_names_and_the_defaults_of_trl() -> None:
    found = migrate(read("trl/lora-chat.yaml"))
    assert found.unsupported == ()
    cfg = parse_config(found.text)
    assert (cfg.base_model, cfg.revision_of_model) == ("example/small-chat-model", "main")
    (train,), (held_out,) = cfg.datasets, cfg.test_datasets
    assert (train.path, train.name, train.split) == ("example/chats", "default", "train")
    assert (held_out.path, held_out.name, held_out.split) == ("example/chats", "default", "validation")
    assert (cfg.sequence_len, cfg.excess_length_strategy, cfg.sample_packing) == (2048, "truncate", True)
    assert (cfg.train_on_inputs, cfg.adapter, cfg.lora_dropout) == (False, "lora", 0.05)
    assert (cfg.max_steps, cfg.warmup_ratio, cfg.use_tensorboard) == (None, 0.03, True)
    assert (cfg.eval_strategy, cfg.eval_steps, cfg.eval_batch_size) == ("steps", 20, 8)
    assert (cfg.bf16, cfg.gradient_checkpointing, cfg.save_steps) == (True, True, 500)
    assert changes(found)["max_length"] == "sequence_len: 2048"
    assert "packing_strategy" not in changes(found)
    assert [each.line for each in found.changed if each.line] == sorted(e.line for e in found.changed if e.line)


@pytest.mark.parametrize("strategy", ["bfd", "bfd_split", "wrapped"])
def test_a_packing_of_trl_brings_what_it_does_with_long_samples(strategy: str) -> None:
    """TRL cuts off what is too long for bfd, and cuts it in pieces for the other two."""
    text = f"model_name_or_path: m\ndataset_name: d\npacking: true\npacking_strategy: {strategy}\n"
    cfg = parse_config(migrate(text).text)
    assert (cfg.sample_packing, cfg.packing_strategy) == (True, strategy)
    assert cfg.excess_length_strategy == ("truncate" if strategy == "bfd" else "split")


def test_a_trl_file_that_trains_on_texts() -> None:
    found = migrate(read("trl/full-text.yaml"))
    cfg = parse_config(found.text)
    assert (cfg.datasets[0].type, cfg.datasets[0].field) == ("completion", "content")
    assert (cfg.adapter, cfg.train_on_inputs, cfg.learning_rate, cfg.use_tensorboard) == (None, True, 2e-5, True)
    assert (cfg.optimizer, cfg.lr_scheduler) == ("adamw_8bit", "cosine")
    assert cfg.dtype == "bfloat16"
    assert {"lr_scheduler_type", "lr_scheduler_kwargs.min_lr_rate", "push_to_hub"} <= set(left_out(found))


def test_a_split_that_trl_does_not_evaluate_on_is_left_out() -> None:
    found = migrate("model_name_or_path: m\ndataset_name: d\ndataset_test_split: test\nassistant_only_loss: true\n")
    assert parse_config(found.text).test_datasets == ()
    assert changes(found)["dataset_test_split"] == ""


def test_a_llamafactory_file_names_what_only_its_registry_knows() -> None:
    found = migrate(read("llamafactory/lora-sft.yaml"))
    cfg = parse_config(found.text)
    assert [dataset.path for dataset in cfg.datasets] == ["./PATH-OF-identity.jsonl", "./PATH-OF-chats.jsonl"]
    assert left_out(found) == ["dataset", "template", "max_samples"]
    assert (cfg.adapter, cfg.lora_r, cfg.lora_alpha, cfg.lora_target_linear) == ("lora", 8, 16, True)
    assert (cfg.sequence_len, cfg.attn_implementation, cfg.save_steps) == (2048, "flash_attention_2", 500)


def test_full_fine_tuning_of_llamafactory_gets_no_adapter() -> None:
    found = migrate("model_name_or_path: m\nfinetuning_type: full\nlora_rank: 4\ndataset: x\nlearning_rate: 1e-5\n")
    assert parse_config(found.text).adapter is None
    assert changes(found)["lora_rank"] == ""


def test_a_file_without_a_model_gets_a_path_to_fill_in() -> None:
    found = migrate("cutoff_len: 100\n")
    cfg = parse_config(found.text)
    assert (cfg.base_model, cfg.datasets[0].path) == ("./PATH-OF-THE-MODEL", "./PATH-OF-THE-DATA.jsonl")
    assert {"base_model", "datasets"} <= set(left_out(found))
    assert "base_model: ./PATH-OF-THE-MODEL  # to be filled in\n" in found.text


def test_an_adapter_without_layers_gets_all_linear_ones_and_a_remark() -> None:
    found = migrate("base_model: m\ndatasets: [{path: a}]\nlearning_rate: 1e-4\nadapter: lora\n")
    assert parse_config(found.text).lora_target_linear is True
    assert left_out(found) == ["lora_target_linear"]


def test_keys_that_contradict_each_other_are_named() -> None:
    text = "base_model: m\ndatasets: [{path: a}]\nlearning_rate: 1e-4\nflash_attention: true\n"
    found = migrate(f"{text}attn_implementation: sdpa\n")
    reason = "it contradicts flash_attention, which says `attn_implementation: flash_attention_2`"
    assert found.unsupported == (Unsupported("attn_implementation", 5, "sdpa", reason, "check `attn_implementation`"),)
    assert parse_config(found.text).attn_implementation == "flash_attention_2"


@pytest.mark.parametrize(
    ("text", "source", "why"),
    [
        ("base_model: m\nlearning_rate: 1e-4", "axolotl", "only axolotl has base_model"),
        ("model_name_or_path: m\nmax_length: 5", "trl", "only trl has max_length"),
        (
            "model_name_or_path: m\ncutoff_len: 5\ntemplate: x",
            "llamafactory",
            "only llamafactory has cutoff_len, template",
        ),
    ],
)
def test_the_system_is_told_by_its_own_keys(text: str, source: str, why: str) -> None:
    found = migrate(text)
    assert (found.source, found.why) == (source, why)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("model_name_or_path: m\nnum_train_epochs: 3\n", "unknown_system"),
        ("", "not_a_mapping"),
        ("[a, b]", "not_a_mapping"),
        ("a: [", "yaml_syntax"),
        ("base_model: m\nbase_model: n\n", "duplicate_key"),
    ],
)
def test_what_is_no_file_of_a_known_system_is_refused(text: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        migrate(text, file="c.yaml")
    assert caught.value.issues[0].code == code
    assert caught.value.issues[0].file == "c.yaml"


def test_the_caller_can_say_whose_file_it_is() -> None:
    text = "model_name_or_path: m\nnum_train_epochs: 2\n"
    assert "sequence_len: 1024  # the default of TRL" in migrate(text, "trl").text
    assert "lora_r: 8  # the default of LLaMA-Factory" in migrate(text, "llamafactory").text


def test_a_default_that_is_written_out_is_not_ours() -> None:
    for rows in DEFAULTS.values():
        for row in rows:
            field = SftConfig.model_fields[row.key]
            assert row.like or field.is_required() or field.default != row.value, row.key
            assert {*row.when, *row.unless} <= ANY_SYSTEM.own | ANY_SYSTEM.rows.keys()


def test_values_cannot_leave_their_comment() -> None:
    found = migrate('base_model: m\ndion_lr: "a\\nlora_r: 5\\u2028x: 1"\n')
    assert parse_config(found.text).lora_r == 16
    assert "# dion_lr: " in found.text


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
words = st.sampled_from(["auto", "lora", "qlora", "steps", "epoch", "no", "all", "full", "sft", "a,b", "1_000", "1e-4"])
values = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | words, inner, max_size=3),
    max_leaves=6,
)
entries = st.dictionaries(
    st.sampled_from(sorted(ANY_SYSTEM.inner["datasets"].own | ANY_SYSTEM.inner["datasets"].rows.keys())),
    values,
    max_size=4,
)


@pytest.mark.parametrize("system", SYSTEMS)
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_keys_of_a_system_give_a_file_that_loads(system: System, data: st.DataObject) -> None:
    scope = SYSTEMS[system]
    keys = st.sampled_from(sorted(scope.own | scope.rows.keys())) | st.text("abxyz_", max_size=6)
    mapping = data.draw(st.dictionaries(keys, values, max_size=8))
    if data.draw(st.booleans()):
        mapping["datasets"] = data.draw(st.lists(entries, max_size=3))
    source: Source = system
    found = migrate(yaml.safe_dump(mapping, allow_unicode=True), source)
    assert isinstance(parse_config(found.text), SftConfig)
    given_keys = {key for key, value in mapping.items() if value is not None}
    named = {each.key.partition("[")[0].partition(".")[0] for each in (*found.changed, *found.unsupported)}
    missing = given_keys - named - parse_config(found.text).model_fields_set
    assert missing <= {"gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"}  # when nothing stands in it


@given(st.text(max_size=100))
@settings(max_examples=100, deadline=None)
def test_any_text_is_refused_or_gives_a_file_that_loads(text: str) -> None:
    try:
        found = migrate(text, "axolotl")
    except ConfigError:
        return
    parse_config(found.text)


def test_two_names_of_a_setting_that_cannot_stay_are_both_listed() -> None:
    found = migrate("base_model: m\npeft_use_rslora: []\nuse_rslora: []\n", "trl")
    assert {"peft_use_rslora", "use_rslora"} <= {each.key for each in found.unsupported}


def test_a_secret_is_not_copied_into_the_new_file() -> None:
    text = "base_model: m\ndatasets: [{path: a.jsonl, type: alpaca}]\nlearning_rate: 1e-4\ncomet_api_key: hunter2\n"
    found = migrate(text)
    assert "hunter2" not in found.text
    assert "comet_api_key: (hidden)" in found.text


def test_the_older_name_of_rows_over_several_processes_is_rewritten() -> None:
    text = (
        "base_model: m\ndatasets: [{path: a.jsonl, type: alpaca}]\nlearning_rate: 1e-4\nsequence_parallel_degree: 4\n"
    )
    found = migrate(f"{text}attn_implementation: sft_varlen\nheads_k_stride: 1\n", source="axolotl")
    assert parse_config(found.text).context_parallel_size == 4
    assert not found.unsupported
