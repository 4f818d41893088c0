"""check_attention_backend accepts the reference and names every claim of a row that is not true."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from sft_schema import ContractError
from sft_schema.attention import AttentionBackend
from sft_schema.testing import AttentionCase, check_attention_backend
from sft_schema.testing.attention_case import Vectors, reference_gradients, reference_output

PLAIN = AttentionBackend("plain_lists", "varlen", None, ("float64",), on_cpu=True)
FULL = replace(PLAIN, sliding_window=True, softcap=True, sinks=True, max_head_dim=16, deterministic="always")


def test_the_reference_keeps_every_promise() -> None:
    assert check_attention_backend(PLAIN, reference_output) == 3
    assert check_attention_backend(FULL, reference_output, gradients=reference_gradients, tolerance=1e-9) == 8


def numeric(case: AttentionCase, d_out: Vectors, what: str, place: tuple[int, int, int]) -> float:
    """Slope of sum(out * d_out) by the value at a place, from two calls."""
    token, head, dim = place

    def at(step: float) -> float:
        vectors = [[list(vector) for vector in heads] for heads in getattr(case, what)]
        vectors[token][head][dim] += step
        out = reference_output(replace(case, **{what: vectors}))
        return sum(
            a * b
            for x, y in zip(out, d_out, strict=True)
            for p, q in zip(x, y, strict=True)
            for a, b in zip(p, q, strict=True)
        )

    return (at(1e-5) - at(-1e-5)) / 2e-5


def test_gradients_of_the_reference_are_slopes_of_its_outputs() -> None:
    seen: list[AttentionCase] = []

    def keep(case: AttentionCase) -> Vectors:
        seen.append(case)
        return reference_output(case)

    check_attention_backend(FULL, keep)
    case = next(each for each in seen if each.name == "all features")
    d_out = [[[0.1 * (token + dim) - head for dim in range(8)] for head in range(4)] for token in range(13)]
    for what, gradient in zip("qkv", reference_gradients(case, d_out), strict=True):
        for place in ((0, 0, 0), (4, 1, 3), (8, 0, 7), (12, 1, 5)):
            found = gradient[place[0]][place[1]][place[2]]
            assert found == pytest.approx(numeric(case, d_out, what, place), abs=1e-7), (what, place)


def test_the_reference_gives_hand_worked_numbers() -> None:
    """One head of dimension 1: weights are softmax(q k) over the sample's own keys, here powers of e."""
    q = k = [[[1.0]], [[1.0]], [[1.0]]]
    v = [[[2.0]], [[4.0]], [[9.0]]]
    assert reference_output(AttentionCase("two samples", q, k, v, [0, 2, 3])) == [[[2.0]], [[3.0]], [[9.0]]]
    assert reference_output(AttentionCase("window", q, k, v, [0, 3], window=2))[2] == [[6.5]]
    assert reference_output(AttentionCase("sink of e", q, k, v, [0, 1, 2, 3], sinks=[1.0])) == [
        [[1.0]],
        [[2.0]],
        [[4.5]],
    ]


def changed(**change: object) -> Callable[[AttentionCase], Vectors]:
    return lambda case: reference_output(replace(case, **change))  # type: ignore[arg-type]


def one_document(case: AttentionCase) -> Vectors:
    return reference_output(replace(case, cu_seqlens=[0, case.cu_seqlens[-1]]))


def without_last_dim(case: AttentionCase) -> Vectors:
    return [[vector[:-1] for vector in heads] for heads in reference_output(case)]


def not_a_number(case: AttentionCase) -> Vectors:
    return [[[float("nan") for _ in vector] for vector in heads] for heads in reference_output(case)]


class Wobbles:
    """Off by rounding, differently each time."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, case: AttentionCase) -> Vectors:
        self.calls += 1
        return [[[x * (1 + 1e-9 * self.calls) for x in y] for y in heads] for heads in reference_output(case)]


def peeks(case: AttentionCase) -> Vectors:
    """Right to one part in a million, as long as the other samples are small."""
    total = sum(abs(x) for heads in case.v for vector in heads for x in vector)
    return [[[x + 1e-9 * total for x in vector] for vector in heads] for heads in reference_output(case)]


@pytest.mark.parametrize(
    ("row", "attend", "message"),
    [
        (PLAIN, one_document, "4 query heads, 2 key heads: off by"),
        (PLAIN, without_last_dim, "numbers, expected"),
        (PLAIN, not_a_number, "off by nan"),
        (PLAIN, peeks, "tokens 0 to 4 after a change of the other samples: off by"),
        (replace(PLAIN, sliding_window=True), changed(window=None), "sliding window of 3: off by"),
        (replace(PLAIN, sliding_window=True), changed(window=4), "off by"),
        (replace(PLAIN, softcap=True), changed(softcap=0.0), "softcap 1.5: off by"),
        (replace(PLAIN, sinks=True), changed(sinks=None), "sinks: off by"),
        (replace(PLAIN, deterministic="always"), Wobbles(), "two calls differ"),
        (replace(PLAIN, name="my_flash"), reference_output, "taken for a hub kernel"),
    ],
)
def test_a_claim_that_is_not_true_is_named(
    row: AttentionBackend, attend: Callable[[AttentionCase], Vectors], message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        check_attention_backend(row, attend)


def test_wrong_gradients_are_named() -> None:
    def without_softmax(case: AttentionCase, d_out: Vectors) -> tuple[Vectors, Vectors, Vectors]:
        dq, dk, dv = reference_gradients(case, d_out)
        return dq, [[[2 * x for x in vector] for vector in heads] for heads in dk], dv

    with pytest.raises(ContractError, match="gradient of k: off by"):
        check_attention_backend(PLAIN, reference_output, gradients=without_softmax)


def test_a_row_without_isolation_is_tried_on_one_sample() -> None:
    lengths: set[int] = set()

    def attend(case: AttentionCase) -> Vectors:
        lengths.add(len(case.cu_seqlens))
        return one_document(case)

    assert check_attention_backend(replace(PLAIN, isolation="none"), attend) == 3
    assert lengths == {2}
