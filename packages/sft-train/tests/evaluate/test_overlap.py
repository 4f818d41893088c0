"""Scores of generated answers are those of sacrebleu 2.5 and rouge-score 0.1.2, whose figures stand here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_train.evaluate.overlap import chrf, rouge_l

# answer, wanted, sacrebleu's CHRF().corpus_score([answer], [[wanted]]), rouge-score's rougeL F-measure
PAIRS = (
    ("the cat sat on the mat", "The cat is on the mat.", 54.09407993966817, 0.8333333333333334),
    ("a", "ab", 55.55555555555556, 0.0),
    ("", "nothing", 0.0, 0.0),
    ("Numbers 12, 13 and 14.", "Numbers 12 and 13!", 62.425129900927566, 0.6666666666666665),
    ("completely other", "words here", 13.830064457780539, 0.0),
    ("it it it is", "it is it", 40.48963103321227, 0.5714285714285715),
)


@pytest.mark.parametrize(("answer", "wanted", "by_sacrebleu", "by_rouge_score"), PAIRS)
def test_a_pair_scores_as_elsewhere(answer: str, wanted: str, by_sacrebleu: float, by_rouge_score: float) -> None:
    assert 100 * chrf([answer], [wanted]) == pytest.approx(by_sacrebleu)
    assert rouge_l([answer], [wanted]) == pytest.approx(by_rouge_score)


def test_many_pairs_score_as_elsewhere() -> None:
    answers, wanted = [row[0] for row in PAIRS], [row[1] for row in PAIRS]
    assert 100 * chrf(answers, wanted) == pytest.approx(43.729949527282045)
    assert rouge_l(answers, wanted) == pytest.approx(sum(row[3] for row in PAIRS) / len(PAIRS))


def test_words_of_any_script_count() -> None:
    assert rouge_l(["да нет"], ["Нет"]) == pytest.approx(2 / 3)


@given(st.text(), st.text())
def test_scores_are_parts_and_whole_where_texts_are_equal(one: str, two: str) -> None:
    for score in (chrf, rouge_l):
        assert 0 <= score([one], [two]) <= 1
    if one.split():
        assert chrf([one], [one]) == pytest.approx(1)
