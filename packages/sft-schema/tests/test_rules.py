"""Every rule fires on the combination it is for, and on nothing else."""

import json

import pytest

from sft_schema import BACKENDS, ConfigError, SftConfig, parse_config
from sft_schema.attention import AttentionBackend
from sft_schema.config.rules import RULES

MINIMAL = "base_model: m\ndatasets: [{path: a.jsonl}]\nlearning_rate: 1e-4\n"
EVAL = "test_datasets: [{path: b.jsonl}]\n"

LORA = "adapter: lora\nlora_target_linear: true\n"
CHATS = "do_causal_lm_eval: true\ntest_datasets: [{path: b.jsonl}]\n"


def dataset(entry: str) -> str:
    return MINIMAL.replace("{path: a.jsonl}", f"{{path: a.jsonl, {entry}}}")


BREAKS = {
    "unknown_attention": "attn_implementation: flash_attn\n",
    "attention_not_built": "attn_implementation: sft_varlen\n",
    "attention_in_float32": "attn_implementation: flash_attention_2\nbf16: false\n",
    "lora_without_adapter": "lora_alpha: 4\n",
    "lora_targets": "adapter: lora\n",
    "lora_layer_twice": "adapter: lora\nlora_target_modules: [q_proj, v_proj]\nlora_modules_to_save: [v_proj]\n",
    "adapter_on_random_weights": LORA + "reinit_weights: true\n",
    "setting_of_another_format": dataset("type: alpaca, field_messages: conversations"),
    "key_mapped_twice": dataset("message_property_mappings: {role: from, content: from}"),
    "val_set_size": "val_set_size: 1.5\n",
    "output_over_base_model": "output_dir: ./m/\n",
    "jinja_template": "chat_template: jinja\n",
    "reserved_template_variable": "chat_template_kwargs: {messages: none}\n",
    "pad_is_eos": "special_tokens: {pad_token: </s>, eos_token: </s>}\n",
    "no_role_trained": "roles_to_train: []\n",
    "roles_without_effect": "train_on_inputs: true\nroles_to_train: [assistant, tool]\n",
    "two_eval_sources": EVAL + "val_set_size: 0.1\n",
    "eval_without_data": "do_causal_lm_eval: true\n",
    "questions_without_conversations": "do_causal_lm_eval: true\nval_set_size: 20\n",
    "answers_without_score": CHATS + "eval_causal_lm_metrics: []\n",
    "two_warmups": "warmup_steps: 3\nwarmup_ratio: 0.1\n",
    "warmup_of_a_constant": "lr_scheduler: constant\nwarmup_steps: 3\n",
    "adam_settings_without_adam": "optimizer: sgd\nadam_beta2: 0.95\n",
    "save_steps": "save_steps: 3\n",
    "eval_steps": EVAL + "eval_strategy: steps\n",
    "empty_resume_folder": "resume_from_checkpoint: ''\n",
}
SECOND_WAYS = (
    ("attention_not_built", "attn_implementation: flash_attention_4\n"),
    ("attention_not_built", "attn_implementation: kernels-community/flash-attn3\n"),
    ("attention_not_built", "attn_implementation: 'some/kernel@v2:forward'\n"),
    ("lora_targets", "adapter: lora\nlora_target_linear: true\nlora_target_modules: [q_proj]\n"),
    ("setting_of_another_format", dataset("field: body")),
    ("setting_of_another_format", dataset("type: completion, roles_to_train: [user]")),
    ("setting_of_another_format", EVAL.replace("b.jsonl", "b.jsonl, type: alpaca, field_tools: functions")),
    ("reserved_template_variable", "chat_template_kwargs: {bos_token: x}\n"),
    ("no_role_trained", dataset("roles_to_train: []")),
    ("no_role_trained", dataset("train_on_inputs: false, roles_to_train: []") + "train_on_inputs: true\n"),
    ("roles_without_effect", dataset("train_on_inputs: true, roles_to_train: [tool]")),
    ("save_steps", "save_strategy: steps\n"),
    ("eval_steps", EVAL + "eval_steps: 3\n"),
    ("jinja_template", "chat_template_jinja: t.jinja\n"),
    ("eval_without_data", "eval_strategy: epoch\n"),
    ("questions_without_conversations", CHATS.replace("b.jsonl", "b.jsonl, type: completion")),
    ("warmup_of_a_constant", "lr_scheduler: constant\nwarmup_ratio: 0.1\n"),
    ("adam_settings_without_adam", "optimizer: adafactor\nadam_epsilon: 1e-6\n"),
)
FINE = (
    "adapter: lora\nlora_r: 4\nlora_target_linear: true\n",
    "adapter: lora\nlora_target_modules: [q_proj]\nlora_modules_to_save: [embed_tokens]\n",
    "warmup_ratio: 0.1\n",
    "val_set_size: 0.5\neval_strategy: steps\neval_steps: 5\n",
    CHATS,
    "save_strategy: steps\nsave_steps: 3\n",
    "chat_template: jinja\nchat_template_jinja: t.jinja\n",
    "chat_template_kwargs: {enable_thinking: false}\n",
    "special_tokens: {pad_token: <pad>, eos_token: </s>}\n",
    "special_tokens: {eos_token: </s>}\n",
    "train_on_inputs: true\n",
    dataset("type: completion, field: body") + "roles_to_train: []\n",
    dataset("train_on_inputs: true, roles_to_train: [assistant]"),
    dataset("roles_to_train: [tool]"),
    dataset("message_property_mappings: {role: from, content: value}, field_tools: functions"),
    "lr_scheduler: constant_with_warmup\nwarmup_steps: 3\n",
    "optimizer: sgd\n",
    "resume_from_checkpoint: out/checkpoint-3\n",
    "output_dir: m/tuned\n",
    "attn_implementation: eager\nbf16: false\n",
    *(f"attn_implementation: {name}\nsample_packing: true\nmicro_batch_size: 2\n" for name in BACKENDS),
)


def config(text: str) -> str:
    return text if text.startswith("base_model") else MINIMAL + text


@pytest.mark.parametrize(("code", "text"), [*BREAKS.items(), *SECOND_WAYS])
def test_a_rule_names_the_impossible_combination(code: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(config(text))
    (issue,) = caught.value.issues
    assert issue.code == code
    assert issue.line is not None
    assert issue.fix


@pytest.mark.parametrize("text", FINE)
def test_possible_combinations_pass(text: str) -> None:
    parse_config(config(text))


@pytest.mark.parametrize("text", FINE)
def test_a_resolved_config_passes_like_the_one_it_came_from(text: str) -> None:
    cfg = parse_config(config(text))
    kept = {key: value for key, value in cfg.model_dump(mode="json").items() if cfg.adapter or key[:5] != "lora_"}
    assert parse_config(json.dumps(kept)) == cfg


@pytest.mark.parametrize("shared", ["sample_packing: true", "micro_batch_size: 2", "eval_batch_size: 3"])
def test_sharing_rows_on_a_backend_that_mixes_samples_is_refused(monkeypatch: pytest.MonkeyPatch, shared: str) -> None:
    mixing = AttentionBackend("mixing", "none", None, ("float32",), on_cpu=True)
    monkeypatch.setitem(BACKENDS, "mixing", mixing)
    with pytest.raises(ConfigError, match="would attend to one another") as caught:
        parse_config(MINIMAL + f"attn_implementation: mixing\n{shared}\n")
    (issue,) = caught.value.issues
    assert issue.path == (shared.split(":")[0],)
    assert issue.fix == "set attn_implementation to one of " + ", ".join(name for name in BACKENDS if name != "mixing")
    parse_config(MINIMAL + "attn_implementation: mixing\n")


def test_an_unbuilt_backend_is_refused_with_its_reason_and_what_can_be_used() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(MINIMAL + "attn_implementation: sft_varlen\n")
    (issue,) = caught.value.issues
    assert issue.message == "'sft_varlen' is not available: the Triton kernel of sft-kernels is not built yet"
    assert issue.fix == "choose one of eager, sdpa, flex_attention, flash_attention_2, flash_attention_3"


def test_every_rule_is_tested() -> None:
    assert sorted(rule.code for rule in RULES) == sorted({*BREAKS, "packing_not_isolated"})


def test_a_rule_reads_no_setting_that_is_not_among_its_keys() -> None:
    """A rule runs on stand-ins where a setting is broken, so what it reads must be what it says."""
    for rule in RULES:
        read: set[str] = set()
        rule.check(Recorder(read))  # type: ignore[arg-type]
        assert read <= {*rule.keys, "model_fields_set"}, rule.code


class Recorder:
    """A config that notes which of its settings are looked at."""

    def __init__(self, read: set[str]) -> None:
        values = {"base_model": "m", "datasets": [{"path": "a.jsonl"}], "learning_rate": 1e-4, "adapter": "lora"}
        self._read, self._config = read, SftConfig.model_validate_json(json.dumps(values))

    def __getattr__(self, name: str) -> object:
        self._read.add(name)
        return getattr(self._config, name)


def test_a_rule_stays_silent_when_its_setting_is_itself_wrong() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(MINIMAL + "adapter: loar\nlora_r: 4\n")
    assert [issue.code for issue in caught.value.issues] == ["wrong_value"]
