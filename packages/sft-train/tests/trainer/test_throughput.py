from __future__ import annotations

import time

from sft_train.trainer.throughput import Throughput


def test_rates_count_the_time_of_steps_alone() -> None:
    clock = Throughput()
    clock.begin_step()
    clock.add(1000, 250)
    time.sleep(0.05)
    clock.end_step()
    time.sleep(0.3)  # an evaluation, say
    clock.end_step()  # no step has begun since
    rates = clock.rates()
    assert 1000 / 0.25 < rates["tokens_per_second"] <= 1000 / 0.05
    assert abs(rates["tokens_per_second"] / rates["trained_tokens_per_second"] - 4) < 1e-3
    assert clock.rates() == {}
    assert (clock.tokens, clock.trained_tokens) == (1000, 250)


def test_rates_tell_what_was_waited_for_and_how_full_rows_are() -> None:
    clock = Throughput(row_len=100)
    for _ in range(2):
        clock.begin_step()
        time.sleep(0.02)
        clock.add(300, 250, rows=4)
        time.sleep(0.02)
        clock.end_step()
    rates = clock.rates()
    assert rates["packing_efficiency"] == 0.75
    assert 0.2 < rates["data_wait"] < 0.8
    assert "mfu" not in rates
