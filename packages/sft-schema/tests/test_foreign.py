"""Keys of other systems are answered when a file is loaded: by name, with the reason and the way on."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_schema import ConfigError, Issue, SftConfig, load_config, parse_config
from sft_schema.foreign import ANY_SYSTEM
from sft_schema.foreign.flow import flow
from sft_schema.yaml_source import read_yaml

CONFIGS = Path(__file__).parent / "configs"
MINIMAL = "base_model: m\nlearning_rate: 1e-4\ndatasets:\n  - path: a.jsonl\n"


def issues_of(text: str, *overrides: str) -> tuple[Issue, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, file="c.yaml", overrides=overrides)
    return caught.value.issues


@pytest.mark.parametrize(
    ("line", "message", "fix"),
    [
        ("flash_attention: true", "a setting of axolotl, said in", "write `attn_implementation: flash_attention_2`"),
        ("flash_attention: false", "a setting of axolotl, not needed here: it is off", "remove it"),
        ("attn_supports_packing: true", "true (axolotl): it is worked out from `attn_implementation`", "remove it"),
        ("load_in_4bit: true", "true (axolotl): base models in 4 or 8 bits", "remove it; `adapter: lora` trains"),
        ("saves_per_epoch: 1", "a setting of axolotl, said in", "write `save_strategy: epoch`"),
        ("evals_per_epoch: 4", "4 (axolotl): several times in an epoch", "write `eval_strategy: steps` and"),
        ("wandb_project: x", "x (axolotl): Weights & Biases is not connected", "remove it; metrics.jsonl"),
        ("pad_to_sequence_len: true", "true (axolotl): rows are never padded", "remove it"),
        ("gptq_groupsize: 128", "a setting of axolotl, not needed here: axolotl itself ignores it", "remove it"),
        ("rl: dpo", "dpo (axolotl): it is not supervised fine-tuning", "remove it and train on good answers"),
        ("max_length: 5", "a setting of TRL, said in", "write `sequence_len: 5`"),
        ("dataset_name: x/y", "a setting of TRL, said in", "write `datasets: [{path: x/y}]`"),
        (
            "packing_strategy: wrapped",
            "wrapped (TRL): packing fills rows",
            "remove it and write `sample_packing: true`",
        ),
        ("per_device_train_batch_size: 5", "a setting of transformers, said in", "write `micro_batch_size: 5`"),
        ("optim: adamw_8bit", "adamw_8bit (transformers): optimizer states of 8 bits", "write `optimizer: adamw_torch"),
        ("optim: adamw_hf", "a setting of transformers, said in", "write `optimizer: adamw_torch_fused`"),
        ("report_to: wandb", "wandb (transformers): of the services", "remove it; metrics.jsonl"),
        ("report_to: [tensorboard]", "a setting of transformers, said in", "write `use_tensorboard: true`"),
        ("cutoff_len: 5", "a setting of LLaMA-Factory, said in", "write `sequence_len: 5`"),
        (
            "template: qwen",
            "qwen (LLaMA-Factory): it names a template",
            "remove it; `chat_template: tokenizer_default`",
        ),
        ("finetuning_type: freeze", "freeze (LLaMA-Factory): some layers", "write `adapter: lora`"),
        ("lora_target: all", "a setting of LLaMA-Factory, said in", "write `lora_target_linear: true`"),
        ("lora_target: q, v", "a setting of LLaMA-Factory, said in", "write `lora_target_modules: [q, v]`"),
        (
            "enable_thinking: false",
            "a setting of LLaMA-Factory, said",
            "write `chat_template_kwargs: {enable_thinking: f",
        ),
    ],
)
def test_a_key_of_another_system_is_answered(line: str, message: str, fix: str) -> None:
    (issue,) = issues_of(MINIMAL + line)
    assert (issue.code, issue.line, issue.column) == ("foreign_key", 5, 1)
    assert issue.message.startswith(message)
    assert issue.fix.startswith(fix)


@pytest.mark.parametrize(
    ("line", "message", "fix"),
    [
        ("adapter: qlora", "qlora: base models in 4 bits are not", "write `adapter: lora`"),
        ("optimizer: muon", "muon: this optimizer is not implemented", "write `optimizer: adamw_torch_fused`"),
        ("optimizer: adamw_bnb_8bit", "adamw_bnb_8bit: optimizer states", "write `optimizer: adamw_torch_fused`"),
        ("lr_scheduler: rex", "rex: this schedule is not", "write `lr_scheduler: cosine`"),
        ("chat_template: llama3", "llama3: it names a template text that", "write `chat_template: tokenizer_default`"),
        (
            "chat_template: tokenizer_default_fallback_x",
            "tokenizer_default_fallback_x: there is no f",
            "write `chat_te",
        ),
        ("gradient_checkpointing: offload", "offload: activations are not", "write `gradient_checkpointing: true`"),
        ("lora_target_modules: '.*proj$'", '".*proj$": a regular', "list the last parts of the names"),
        ("lora_target_modules: all-linear", "all-linear, said in other words", "write `lora_target_linear: true`"),
        ("warmup_steps: 0.1", "0.1, said in other words here", "write `warmup_ratio: 0.1`"),
        ("max_steps: -1", "-1, not needed here: without max_steps there is no limit", "remove it"),
        ("save_steps: 0.5", "0.5: a fraction of the run", "write a number of steps, such as `save_steps: 100`"),
        ("learning_rate: '2e-5'", '"2e-5", said in other words here', "write `learning_rate: 2e-05`"),
        (
            "eval_causal_lm_metrics: [chrf]",
            "[chrf]: only exact_match is",
            "write `eval_causal_lm_metrics: [exact_match",
        ),
    ],
)
def test_a_value_of_another_system_is_answered(line: str, message: str, fix: str) -> None:
    key = line.split(":")[0]
    text = "".join(f"{each}\n" for each in MINIMAL.splitlines() if not each.startswith(key))
    (issue,) = issues_of(text + line)
    assert (issue.code, issue.path) == ("wrong_value", (key,))
    assert issue.message.startswith(message)
    assert issue.fix.startswith(fix)


@pytest.mark.parametrize(
    ("line", "code", "message", "fix"),
    [
        (
            "type: sharegpt",
            "wrong_value",
            "sharegpt: rows with `conversations`",
            "write `type: chat_template`, `field",
        ),
        ("type: {field_output: a}", "wrong_value", "{field_output: a}: a prompt style of", "turn the rows into"),
        ("type: alpaca:chat", "wrong_value", '"alpaca:chat": this format is not', "turn the rows into"),
        ("type: my.own.module", "wrong_value", "my.own.module: this format is not", "turn the rows into"),
        ("type: alpacca", "wrong_value", "must be 'chat_template', 'alpaca' or 'completion', but", "type: Format"),
        ("ds_type: csv", "wrong_value", "csv: files of this kind", "convert it to .jsonl or .parquet"),
        ("path: s3://b/x", "wrong_value", '"s3://b/x": data sets are read from', "copy it to a local folder"),
        (
            "message_field_role: from",
            "foreign_key",
            "a setting of axolotl, said",
            "write `message_property_mappings: {ro",
        ),
        ("data_files: [a]", "foreign_key", "[a] (axolotl): `path` names the file", "write the file into `path`"),
        ("roles: {assistant: [gpt]}", "foreign_key", "{assistant: [gpt]} (axolotl): roles keep", "rename the roles"),
        ("fraction: 0.5", "foreign_key", "0.5 (TRL): data sets are used whole", "write a part such as `split: tr"),
        (
            "sequence_len: 5",
            "unknown_key",
            "there is no setting 'sequence_len'",
            "sequence_len belongs to the top level",
        ),
        ("type_: x", "unknown_key", "there is no setting 'type_'", "did you mean 'type'?"),
    ],
)
def test_an_entry_of_datasets_is_answered_too(line: str, code: str, message: str, fix: str) -> None:
    key = line.split(":")[0]
    entry = "  - name: x\n" if key == "path" else "  - path: a.jsonl\n"
    text = (
        "base_model: m\nlearning_rate: 1e-4\ntest_datasets:\n" + entry + f"    {line}\ndatasets: [{{path: b.jsonl}}]\n"
    )
    found = [issue for issue in issues_of(text) if issue.path[-1] == key]
    (issue,) = [each for each in found if each.code != "missing_key"]
    assert (issue.code, issue.path, issue.line) == (code, ("test_datasets", 0, key), 5)
    assert issue.message.startswith(message)
    assert issue.fix.startswith(fix)


def test_what_asks_for_what_is_done_anyway_may_stay() -> None:
    text = (
        "load_in_8bit: false\ntf32: false\nmodel_type: AutoModelForCausalLM\nreport_to: none\nstage: sft\n"
        "gradient_checkpointing_kwargs: {use_reentrant: false}\ncontext_parallel_size: 1\npacking_strategy: bfd\n"
        "deepspeed:\nplugins: []\n"
    )
    plain = parse_config(MINIMAL)
    assert parse_config(text + MINIMAL) == plain
    assert parse_config(MINIMAL, overrides=["save_safetensors=true"]) == plain


def test_a_mapping_is_answered_as_a_whole_or_key_by_key() -> None:
    text = MINIMAL + "fsdp_config:\n  offload_params: true\n  reshard_after_foward: true\n"
    whole, misspelt = issues_of(text)
    assert (whole.path, whole.line) == (("fsdp_config",), 5)
    assert whole.message.endswith("(axolotl): a model is not sharded over GPUs (FSDP)")
    assert (misspelt.code, misspelt.path, misspelt.line) == ("unknown_key", ("fsdp_config", "reshard_after_foward"), 7)
    assert misspelt.fix.startswith("did you mean 'reshard_after_forward'?")

    text = MINIMAL + "gradient_checkpointing_kwargs:\n  use_reentrant: true\n  prserve_rng_state: true\n"
    reentrant, misspelt = issues_of(text)
    assert (reentrant.code, reentrant.path) == ("foreign_key", ("gradient_checkpointing_kwargs", "use_reentrant"))
    assert misspelt.fix.startswith("did you mean 'preserve_rng_state'?")

    (tokens,) = issues_of(MINIMAL + "special_tokens: {additional_special_tokens: [a]}")
    assert (tokens.code, tokens.path) == ("foreign_key", ("special_tokens", "additional_special_tokens"))
    assert [issue.path for issue in issues_of(MINIMAL + "gradient_checkpointing_kwargs: true")] == [
        ("gradient_checkpointing_kwargs",)
    ]


def test_one_mistake_is_one_issue() -> None:
    """What a refused key is about is not reported a second time, as missing or by a rule."""
    text = "model_name_or_path: m\ndataset_name: d\nlearning_rate: 1e-4\nadapter: qlora\nlora_r: 8\n"
    assert [issue.path[0] for issue in issues_of(text)] == ["model_name_or_path", "dataset_name", "adapter"]
    text = MINIMAL + "use_peft: true\nlora_r: 8\nflash_attention: true\nsample_packing: true\n"
    assert [issue.path[0] for issue in issues_of(text)] == ["use_peft", "flash_attention"]


def test_an_override_with_a_key_of_another_system_is_blamed_on_the_command_line() -> None:
    (issue,) = issues_of(MINIMAL, "max_length=5")
    assert (issue.file, issue.line, issue.fix) == ("--set", None, "write `sequence_len: 5`")


def test_an_axolotl_file_loads_as_it_is() -> None:
    cfg = load_config(CONFIGS / "axolotl" / "lora-chat.yaml")
    assert (cfg.adapter, cfg.lora_r, cfg.sequence_len, cfg.sample_packing) == ("lora", 16, 4096, True)
    assert cfg.datasets[0].message_property_mappings == {"role": "from", "content": "value"}
    assert cfg.attn_implementation == "flash_attention_2"


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*/*.y*ml")), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_refusal_of_a_file_names_a_line_of_it(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    found: list[tuple[int | None, str]] = []
    try:
        load_config(file)
    except ConfigError as error:
        found = [(issue.line, str(issue.path[-1])) for issue in error.issues if issue.code != "missing_key"]
    assert all(key in lines[(line or 0) - 1] for line, key in found)


TEXTS = ("a", "a b", "true", "1", "1e3", "~", "", " a", "a ", "a: b", "# a", "[a]", "ü", "a\nb", 'say "hi" \\', "null")
TEXTS += ("0x10", ".inf", "-", "a#b", "<|end|>", "\x85\u2028\ufeff", "a:", "- a", "@a", "*a", "!a", "a,b")
OTHERS = (1, 1.5, 1e-05, True, None, [], {}, ["a", 1], {"a": {"b": [None, "x:"]}})


@pytest.mark.parametrize("value", [*TEXTS, *OTHERS])
def test_a_value_on_one_line_reads_back_as_itself(value: object) -> None:
    text = flow(value)
    assert "\n" not in text
    assert read_yaml(f"a: {text}  # comment", "x").values == {"a": value}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["auto", "lora"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.text(max_size=12) | st.floats() | st.integers() | anything)
@settings(max_examples=300, deadline=None)
def test_any_value_on_one_line_reads_back_as_itself(value: object) -> None:
    again = read_yaml(f"a: {flow(value)}", "x").values["a"]
    assert repr(again) == repr(value)


known = sorted(ANY_SYSTEM.rows.keys() | ANY_SYSTEM.own)
inside = sorted({key for scope in ANY_SYSTEM.inner.values() for key in scope.rows.keys() | scope.own})


def check(mapping: object) -> None:
    try:
        cfg = parse_config(yaml.safe_dump(mapping, allow_unicode=True))
    except ConfigError as error:
        issues = error.issues
    else:
        assert isinstance(cfg, SftConfig)
        return
    assert issues
    assert all(issue.message and issue.fix and issue.path for issue in issues)


@given(st.dictionaries(st.sampled_from(known), anything, max_size=8))
@settings(max_examples=400, deadline=None)
def test_any_keys_of_the_tables_are_a_config_or_a_config_error(mapping: dict[str, object]) -> None:
    check(mapping)


@given(
    st.sampled_from(sorted(ANY_SYSTEM.inner)),
    st.dictionaries(st.sampled_from(inside) | st.text(max_size=6), anything, max_size=4),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_any_keys_inside_mappings_are_a_config_or_a_config_error(key: str, inner: object, listed: bool) -> None:
    check({"base_model": "m", "learning_rate": 1e-4, key: [inner, inner] if listed else inner})


SAMPLES = (None, True, False, 0, 1, -1, 0.5, 1e400, "x", "", "a,b", "full", [], ["x", 1, None], {}, {"a": {"b": 1}})


def test_every_key_of_the_tables_with_any_value_is_a_config_or_a_config_error() -> None:
    for key in known:
        for value in SAMPLES:
            check({"base_model": "m", "learning_rate": 1e-4, "datasets": [{"path": "a"}], key: value})
