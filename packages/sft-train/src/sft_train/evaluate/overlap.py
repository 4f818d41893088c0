"""How much of the wanted answers is in the generated ones: chrF and ROUGE-L, each from 0 to 1."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

_ORDER = 6
_BETA = 2.0
_WORD = re.compile(r"\w+")


def chrf(answers: Sequence[str], wanted: Sequence[str]) -> float:
    """chrF2 of all answers together (Popović 2015, W15-3049): F-score of their n-grams of 1 to 6 characters.

    White space does not count, recall counts twice as much as precision, and n-grams are counted over all pairs
    before they are divided. It is a hundredth of what sacrebleu gives.

    Args:
        answers: generated.
        wanted: one for each.
    """
    matches, found, given = [0] * _ORDER, [0] * _ORDER, [0] * _ORDER
    for answer, want in zip(answers, wanted, strict=True):
        for order in range(_ORDER):
            ours, theirs = _ngrams(answer, order + 1), _ngrams(want, order + 1)
            matches[order] += (ours & theirs).total()
            given[order] += theirs.total()
            found[order] += ours.total() if theirs else 0  # a pair too short for this order has no say in it
    known = [order for order in range(_ORDER) if found[order] and given[order]]
    if not known:
        return 0.0
    precision = fmean(matches[order] / found[order] for order in known)
    recall = fmean(matches[order] / given[order] for order in known)
    return _f_score(precision, recall, _BETA)


def rouge_l(answers: Sequence[str], wanted: Sequence[str]) -> float:
    """ROUGE-L (Lin 2004, W04-1013): F-score of the longest common subsequence of words, the mean over the answers.

    Words are runs of letters and digits, of any script, in lower case and not stemmed; on English text that is the
    `rougeL` of the package rouge-score.

    Args:
        answers: generated.
        wanted: one for each.
    """
    return fmean(_sequence_score(_words(answer), _words(want)) for answer, want in zip(answers, wanted, strict=True))


def _ngrams(text: str, order: int) -> Counter[str]:
    letters = "".join(text.split())
    return Counter(letters[place : place + order] for place in range(len(letters) - order + 1))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower().replace("_", " "))


def _sequence_score(answer: Sequence[str], wanted: Sequence[str]) -> float:
    if not (answer and wanted):
        return 0.0
    common = _longest_common(answer, wanted)
    return _f_score(common / len(answer), common / len(wanted), 1.0)


def _longest_common(one: Sequence[str], two: Sequence[str]) -> int:
    """Length of the longest common subsequence, by a table of which one row is kept."""
    row = [0] * (len(two) + 1)
    for word in one:
        diagonal = 0
        for place, other in enumerate(two, start=1):
            above = row[place]
            row[place] = diagonal + 1 if word == other else max(above, row[place - 1])
            diagonal = above
    return row[-1]


def _f_score(precision: float, recall: float, beta: float) -> float:
    weighed = beta**2 * precision + recall
    return (1 + beta**2) * precision * recall / weighed if weighed else 0.0
