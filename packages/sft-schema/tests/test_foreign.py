"""Keys of other systems are answered when a file is loaded: by name, with the reason and the way on."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_schema import ConfigError, Issue, SftConfig, load_config, parse_config
from sft_schema.foreign import ANY_SYSTEM
from sft_schema.foreign.flow import flow
from sft_schema.foreign.sentences import FUSED, UNPADDED
from sft_schema.yaml_source import read_yaml

CONFIGS = Path(__file__).parent / "configs"
CUT = "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"
MINIMAL = "base_model: m\nlearning_rate: 1e-4\ndatasets:\n  - path: a.jsonl\n"


def issues_of(text: str, *overrides: str) -> tuple[Issue, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, file="c.yaml", overrides=overrides)
    return caught.value.issues


@pytest.mark.parametrize(
    ("line", "message", "fix"),
    [
        ("flash_attention: true", "a setting of axolotl, said in", "write `attn_implementation: flash_attention_2`"),
        ("attn_supports_packing: true", "true (axolotl): it is worked out from `attn_implementation`", "remove it"),
        ("gptq: true", "true (axolotl): quantised base models", "remove it and choose a base model"),
        ("use_rslora: true", "a setting of TRL, said in", "write `peft_use_rslora: true`"),
        (
            "use_bnb_nested_quant: false",
            "a setting of TRL",
            "write `bnb_config_kwargs: {bnb_4bit_use_double_quant: false",
        ),
        ("quantization_bit: 4", "a setting of LLaMA-Factory, said in", "write `load_in_4bit: true`"),
        ("quantization_bit: 3", "3 (LLaMA-Factory): base models are quantised by", "write `load_in_4bit: true` or"),
        ("quantization_method: hqq", "hqq (LLaMA-Factory): base models are", "write `load_in_4bit: true` or"),
        ("adapter_name_or_path: a", "a setting of LLaMA-Factory, said in", "write `lora_model_dir: a`"),
        (
            "comet_api_key: x",
            "(hidden) (axolotl): a secret does not belong into a config",
            "remove it and set COMET_API_KEY",
        ),
        ("rl: dpo", "dpo (axolotl): it is not supervised fine-tuning", "remove it and train on good answers"),
        ("max_length: 5", "a setting of TRL, said in", "write `sequence_len: 5`"),
        ("dataset_name: x/y", "a setting of TRL, said in", "write `datasets: [{path: x/y}]`"),
        (
            "sample_packing_sequentially: true",
            "a setting of axolotl, said in",
            "write `packing_strategy: sequential`",
        ),
        ("per_device_train_batch_size: 5", "a setting of transformers, said in", "write `micro_batch_size: 5`"),
        (
            "optim: adamw_torch_4bit",
            "adamw_torch_4bit (transformers): optimizer states of 4",
            "write `optimizer: adamw_bnb_8bit",
        ),
        ("optim: adamw_hf", "a setting of transformers, said in", "write `optimizer: adamw_torch_fused`"),
        ("report_to: wandb", "a setting of transformers, said in", "write `use_wandb: true`"),
        ("report_to: [clearml, wandb]", "[clearml, wandb] (transformers): of the services", "remove it; metrics.jsonl"),
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
        ("adapter: lokr", "lokr: this adapter is not", "write `adapter: lora`"),
        (
            "peft_init_lora_weights: pissa_niter_16",
            "pissa_niter_16: its start is",
            "write `peft_init_lora_weights: pissa`",
        ),
        ("peft_init_lora_weights: eva", "eva: this start is worked out from", "write `peft_init_lora_weights: pissa`"),
        ("peft_init_lora_weights: false", "false: a random B would", "remove it"),
        ("peft_layers_to_transform: 3", "3, said in other words", "write `peft_layers_to_transform: [3]`"),
        ("unfrozen_parameters: lm_head", "lm_head, said in other words", "write `unfrozen_parameters: [lm_head]`"),
        ("optimizer: came_pytorch", "came_pytorch: this optimizer is not", "write `optimizer: adamw_torch_fused`"),
        ("optimizer: dion", "dion: Dion is not implemented", "write `optimizer: muon`"),
        ("optimizer: lion", "lion, said in other words here", "write `optimizer: lion_32bit`"),
        ("optimizer: galore_adamw", "galore_adamw: gradients are not projected", "write `optimizer: adamw_bnb_8bit`"),
        ("optimizer: lomo", "lomo: weights are not updated", "write `optimizer: adafactor`"),
        (
            "optim_args: 'momentum=0.9, nesterov=True'",
            '"momentum=0.9, nesterov=True", said',
            "write `optim_args: {momentum: 0.9, nesterov: true}`",
        ),
        ("optimizer: adamw_torch_8bit", "adamw_torch_8bit: torchao's 8-bit AdamW", "write `optimizer: adamw_bnb_8bit`"),
        ("lr_scheduler: greedy", "greedy: the learning rate does not follow", "write `lr_scheduler: cosine`"),
        ("lr_scheduler: wsd", "wsd, said in other words", "write `lr_scheduler: warmup_stable_decay`"),
        ("chat_template: llava", "llava: it is a template for pictures", "write `chat_template: tokenizer_default`"),
        (
            "chat_template: command_a",
            "command_a: this template does not come with",
            "write `chat_te",
        ),
        (
            "gradient_checkpointing: offload",
            "offload, said in other words",
            "write `gradient_checkpointing: true` and `activation_offloading: true`",
        ),
        ("gradient_checkpointing: offload_disk", "offload_disk: activations are not moved to the disk", "write `grad"),
        ("activation_offloading: legacy", "legacy, said in other", "write `activation_offloading: true`"),
        ("activation_offloading: disk", "disk: activations are not", "write `gradient_checkpointing: true` and"),
        ("torch_compile: auto", "auto, said in other words", "write `torch_compile: true`"),
        (
            f"plugins: [{CUT}, axolotl.integrations.liger.LigerPlugin]",
            f"[{CUT[:56]}...: axolotl.integrations.liger.LigerPlugin cannot be loaded here",
            f"write `plugins: [{CUT}]`, and remove the keys",
        ),
        ("plugins: [axolotl.integrations.kd.KDPlugin]", "[axolotl.integrations.kd.KDPlugin]: axolotl", "remove it,"),
        (
            "lora_target_modules: 'q_proj,v_proj'",
            '"q_proj,v_proj", said in',
            "write `lora_target_modules: [q_proj, v_proj]`",
        ),
        ("lora_target_modules: all-linear", "all-linear, said in other words", "write `lora_target_linear: true`"),
        ("warmup_steps: 0.1", "0.1, said in other words here", "write `warmup_ratio: 0.1`"),
        ("learning_rate: '2e-5'", '"2e-5", said in other words here', "write `learning_rate: 2e-05`"),
        (
            "eval_causal_lm_metrics: [chrf, comet]",
            "[chrf, comet]: exact_match, chrf and rouge_l are",
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
        ("type: {field_output: a}", "wrong_value", "{field_output: a}: a prompt style of", "turn the rows into"),
        ("type: alpaca:poem", "wrong_value", '"alpaca:poem": this format is not', "turn the rows into"),
        ("type: my.own.module", "wrong_value", "my.own.module: a function of one's own", "write `type: custom`"),
        ("type: mine:rows", "wrong_value", '"mine:rows": a function of one\'s own', "write `type: custom`"),
        ("type: alpacca", "wrong_value", "must be 'chat_template', 'completion', 'input_output'", "type: Format"),
        ("ds_type: webdataset", "wrong_value", "webdataset: files of this kind", "convert it to .jsonl or .parquet"),
        ("path: az://b/x", "wrong_value", '"az://b/x": az:// is not read', "copy the data to a local folder"),
        (
            "message_field_role: from",
            "foreign_key",
            "a setting of axolotl, said",
            "write `message_property_mappings: {ro",
        ),
        ("skip: 10", "foreign_key", "10 (axolotl): rows are not left out by number", "write a part of the split"),
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


def test_axolotl_files_with_rows_over_several_processes_are_honoured() -> None:
    text = "attn_implementation: sft_varlen\nring_attn_func: batch_ring\nheads_k_stride: 1\n"
    assert parse_config(f"{text}context_parallel_size: 4\n{MINIMAL}").context_parallel_size == 4


def test_what_asks_for_what_is_done_anyway_may_stay() -> None:
    text = (
        "load_in_8bit: false\ntf32: false\nmodel_type: AutoModelForCausalLM\nreport_to: none\nstage: sft\n"
        "gradient_checkpointing_kwargs: {use_reentrant: false}\ncontext_parallel_size: 1\npacking_strategy: bfd\n"
        "deepspeed:\nplugins: []\n"
    )
    plain = parse_config(MINIMAL)
    assert parse_config(text + MINIMAL) == plain
    assert parse_config(MINIMAL, overrides=["save_safetensors=true"]) == plain


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("flash_attention: false", "false (axolotl), not needed here: it is off, and asks for nothing"),
        ("gptq_groupsize: 128", "128 (axolotl), not needed here: axolotl itself ignores it"),
        ("pad_to_sequence_len: true", f"true (axolotl), not needed here: {UNPADDED}"),
        ("liger_rope: true", f"true (axolotl), not needed here: {FUSED}"),
        ("use_liger_kernel: true", f"true (transformers), not needed here: {FUSED}"),
        ("enable_liger_kernel: true", f"true (LLaMA-Factory), not needed here: {FUSED}"),
        ("save_safetensors: true", "true (axolotl), not needed here: it asks for what is done anyway"),
        ("max_steps: -1", "-1, not needed here: without max_steps there is no limit"),
        ("accelerator_config: {split_batches: false}", None),
    ],
)
def test_a_key_without_a_difference_is_left_out_and_noted(line: str, message: str | None) -> None:
    notes: list[Issue] = []
    if message is None:
        with pytest.raises(ConfigError):
            parse_config(MINIMAL + line, note=notes.append)
        assert not notes
        return
    assert parse_config(MINIMAL + line, file="c.yaml", note=notes.append) == parse_config(MINIMAL)
    (note,) = notes
    assert (note.code, note.message, note.fix) == ("not_needed", message, "it can be removed")
    assert (note.file, note.line, note.path) == ("c.yaml", 5, (line.split(":")[0],))


def test_a_key_without_a_value_is_not_worth_a_note() -> None:
    notes: list[Issue] = []
    parse_config(MINIMAL + "deepspeed:\nwandb_project:\n", note=notes.append)
    assert not notes


def test_settings_of_bitsandbytes_are_judged_one_by_one() -> None:
    base = MINIMAL + "adapter: qlora\nload_in_4bit: true\nlora_target_linear: true\nbnb_config_kwargs: "
    cfg = parse_config(base + "{bnb_4bit_quant_type: fp4, llm_int8_has_fp16_weight: false}")
    assert cfg.bnb_config_kwargs.bnb_4bit_quant_type == "fp4"
    for text, fix in {
        "{bnb_4bit_compute_dtype: torch.bfloat16}": "write `bnb_4bit_compute_dtype: bfloat16`",
        "{bnb_4bit_compute_dtype: float16}": "write `bnb_4bit_compute_dtype: bfloat16`",
        "{bnb_4bit_quant_storage: bf16}": "write `bnb_4bit_quant_storage: bfloat16`",
        "{load_in_4bit: true}": "remove it here and write `load_in_4bit: true`",
        "{bnb_4bit_quant_typ: nf4}": "did you mean 'bnb_4bit_quant_type'?",
        "{bnb_4bit_quant_type: nf5}": "bnb_4bit_quant_type: The sixteen values",
    }.items():
        (issue,) = issues_of(base + text)
        assert issue.fix.startswith(fix), issue.fix


def test_a_mapping_is_answered_as_a_whole_or_key_by_key() -> None:
    text = MINIMAL + "fsdp_config:\n  fsdp_version: 1\n  reshard_after_foward: true\n"
    old, misspelt = issues_of(text)
    assert (old.path, old.line) == (("fsdp_config", "fsdp_version"), 6)
    assert old.message.endswith("(axolotl): FSDP2 alone is supported")
    assert (misspelt.code, misspelt.path, misspelt.line) == ("unknown_key", ("fsdp_config", "reshard_after_foward"), 7)
    assert misspelt.fix.startswith("did you mean 'reshard_after_forward'?")

    text = MINIMAL + "gradient_checkpointing_kwargs:\n  preserve_rng_state: false\n  use_reentrnt: true\n"
    (misspelt,) = issues_of(text)
    assert misspelt.path == ("gradient_checkpointing_kwargs", "use_reentrnt")
    assert misspelt.fix.startswith("did you mean 'use_reentrant'?")

    (tokens,) = issues_of(MINIMAL + "special_tokens: {additional_special_tokens: [a]}")
    assert (tokens.code, tokens.path) == ("foreign_key", ("special_tokens", "additional_special_tokens"))
    assert [issue.path for issue in issues_of(MINIMAL + "gradient_checkpointing_kwargs: true")] == [
        ("gradient_checkpointing_kwargs",)
    ]


def test_one_mistake_is_one_issue() -> None:
    """What a refused key is about is not reported a second time, as missing or by a rule."""
    text = "model_name_or_path: m\ndataset_name: d\nlearning_rate: 1e-4\nadapter: lokr\nlora_r: 8\n"
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
