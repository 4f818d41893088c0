"""A trained model is measured as its run measured it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from sft_schema import ConfigError, SftConfig
from sft_train.examine import examine
from sft_train.run import run


@pytest.mark.parametrize("adapter", [False, True])
def test_loss_and_answers_are_those_of_the_end_of_the_run(
    adapter: bool, config: Callable[..., SftConfig], data_folder: Path
) -> None:
    lora = {"adapter": "lora", "lora_target_linear": "true", "lora_r": "4"} if adapter else {}
    cfg = config(
        **lora,
        test_datasets=f"[{{path: {data_folder / 'heldout.jsonl'}}}]",
        max_steps="3",
        do_causal_lm_eval="true",
        eval_max_new_tokens="3",
        save_strategy="'no'",
        learning_rate="1e-2",
    )
    summary = run(cfg)
    said: list[str] = []
    found = examine(Path(cfg.output_dir), cfg, said.append)
    assert found.loss == pytest.approx(summary.eval_loss_after, rel=1e-6)
    assert found.loss != pytest.approx(summary.eval_loss_before, rel=1e-3)
    assert found.perplexity == pytest.approx(math.exp(found.loss))
    assert found.exact_match == summary.exact_match_after
    assert [each.answer for each in found.answers[:5]] == [each.after for each in summary.samples]
    assert found.rows.rows_out == 6
    assert said[0] == "preparing the data"


def test_a_config_without_held_out_rows_is_refused(config: Callable[..., SftConfig], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no rows to evaluate on"):
        examine(tmp_path, config(), lambda _: None)
