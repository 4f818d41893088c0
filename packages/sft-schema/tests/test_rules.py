"""Every rule fires on the combination it is for, and on nothing else."""

import pytest

from sft_schema import BACKENDS, ConfigError, parse_config
from sft_schema.attention import AttentionBackend
from sft_schema.config.rules import RULES

MINIMAL = "base_model: m\ndatasets: [{path: a.jsonl}]\nlearning_rate: 1e-4\n"
EVAL = "test_datasets: [{path: b.jsonl}]\n"

BREAKS = {
    "unknown_attention": "attn_implementation: flash_attn\n",
    "lora_without_adapter": "lora_alpha: 4\n",
    "lora_targets": "adapter: lora\n",
    "two_warmups": "warmup_steps: 3\nwarmup_ratio: 0.1\n",
    "two_eval_sources": EVAL + "val_set_size: 0.1\n",
    "eval_without_data": "do_causal_lm_eval: true\n",
    "val_set_size": "val_set_size: 1.5\n",
    "save_steps": "save_steps: 3\n",
    "eval_steps": EVAL + "eval_strategy: steps\n",
    "jinja_template": "chat_template: jinja\n",
    "adapter_on_random_weights": "adapter: lora\nlora_target_linear: true\nreinit_weights: true\n",
}
SECOND_WAYS = {
    "lora_targets": "adapter: lora\nlora_target_linear: true\nlora_target_modules: [q_proj]\n",
    "save_steps": "save_strategy: steps\n",
    "eval_steps": EVAL + "eval_steps: 3\n",
    "jinja_template": "chat_template_jinja: t.jinja\n",
    "eval_without_data": "eval_strategy: epoch\n",
}
FINE = (
    "adapter: lora\nlora_r: 4\nlora_target_linear: true\n",
    "adapter: lora\nlora_target_modules: [q_proj]\n",
    "warmup_ratio: 0.1\n",
    "val_set_size: 0.5\neval_strategy: steps\neval_steps: 5\n",
    "val_set_size: 20\ndo_causal_lm_eval: true\n",
    "save_strategy: steps\nsave_steps: 3\n",
    "chat_template: jinja\nchat_template_jinja: t.jinja\n",
    *(f"attn_implementation: {name}\nsample_packing: true\n" for name in BACKENDS),
)


@pytest.mark.parametrize(("code", "text"), [*BREAKS.items(), *SECOND_WAYS.items()])
def test_a_rule_names_the_impossible_combination(code: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(MINIMAL + text)
    (issue,) = caught.value.issues
    assert issue.code == code
    assert issue.line is not None
    assert issue.fix


@pytest.mark.parametrize("text", FINE)
def test_possible_combinations_pass(text: str) -> None:
    parse_config(MINIMAL + text)


def test_packing_on_a_backend_that_mixes_samples_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    mixing = AttentionBackend("mixing", "none", None, ("float32",), on_cpu=True)
    monkeypatch.setitem(BACKENDS, "mixing", mixing)
    with pytest.raises(ConfigError, match="would attend to one another"):
        parse_config(MINIMAL + "attn_implementation: mixing\nsample_packing: true\n")
    parse_config(MINIMAL + "attn_implementation: mixing\n")


def test_every_rule_is_tested() -> None:
    assert {rule.code for rule in RULES} == {*BREAKS, "packing_not_isolated"}


def test_attention_flags_are_computed_from_the_row() -> None:
    flash, sdpa = BACKENDS["flash_attention_2"], BACKENDS["sdpa"]
    assert (flash.attn_supports_packing, flash.attn_uses_flash_lib, flash.attn_needs_dtype_cast) == (True, True, True)
    assert (sdpa.attn_supports_packing, sdpa.attn_uses_flash_lib, sdpa.attn_needs_dtype_cast) == (True, False, False)


def test_a_rule_stays_silent_when_its_setting_is_itself_wrong() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(MINIMAL + "adapter: loar\nlora_r: 4\n")
    assert [issue.code for issue in caught.value.issues] == ["wrong_value"]
