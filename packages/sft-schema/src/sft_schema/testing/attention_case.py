"""Attention in plain Python: cases, and the outputs and gradients that every implementation has to match."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

Vectors = list[list[list[float]]]
"""`[tokens][heads][dim]`."""


@dataclass(frozen=True, slots=True)
class AttentionCase:
    """One call of causal attention over packed samples.

    Attributes:
        name: what it is a case of.
        q: `[t][h][d]`.
        k: `[t][k][d]`, where k divides h; query head i reads key head `i // (h // k)`.
        v: `[t][k][d]`.
        cu_seqlens: `[n + 1]`: sample j is `[cu_seqlens[j], cu_seqlens[j + 1])`.
        window: a query sees this many keys, its own included; None for all before it.
        softcap: scores become `softcap * tanh(score / softcap)`; 0 for none.
        sinks: `[h]`: one more logit in each head's softmax, without a value; None for none.
    """

    name: str
    q: Vectors
    k: Vectors
    v: Vectors
    cu_seqlens: list[int]
    window: int | None = None
    softcap: float = 0.0
    sinks: list[float] | None = None

    @property
    def scale(self) -> float:
        """Factor on q.k: one over the root of the head dimension."""
        return 1.0 / math.sqrt(len(self.q[0][0]))


@dataclass(frozen=True, slots=True)
class _Weights:
    """Softmax weights of one query and head over the keys that it sees, and the slopes of their scores."""

    keys: range
    weights: list[float]
    slopes: list[float]


def reference_output(case: AttentionCase) -> Vectors:
    """The outputs: `[t][h][d]`."""
    found: Vectors = []
    for token, heads in enumerate(case.q):
        found.append([_output(case, token, head) for head in range(len(heads))])
    return found


def reference_gradients(case: AttentionCase, d_out: Vectors) -> tuple[Vectors, Vectors, Vectors]:
    """The gradients of q, k and v for a gradient of the outputs, `[t][h][d]`.

    With weights p = softmax(s), `ds = p * (d_out . v - sum(p * (d_out . v)))`; a sink's part of the sum is 0, because
    it has no value.
    """
    dq, dk, dv = _zeros(case.q), _zeros(case.k), _zeros(case.v)
    group = len(case.q[0]) // len(case.k[0])
    for token, heads in enumerate(case.q):
        for head, query in enumerate(heads):
            seen, kv, upstream = _weights(case, token, head), head // group, d_out[token][head]
            through = [_dot(upstream, case.v[key][kv]) for key in seen.keys]
            mean = _dot(seen.weights, through)
            for key, weight, slope, value in zip(seen.keys, seen.weights, seen.slopes, through, strict=True):
                d_score = weight * (value - mean) * slope * case.scale
                _add(dq[token][head], d_score, case.k[key][kv])
                _add(dk[key][kv], d_score, query)
                _add(dv[key][kv], weight, upstream)
    return dq, dk, dv


def _output(case: AttentionCase, token: int, head: int) -> list[float]:
    seen = _weights(case, token, head)
    kv = head // (len(case.q[0]) // len(case.k[0]))
    out = [0.0] * len(case.v[0][0])
    for key, weight in zip(seen.keys, seen.weights, strict=True):
        _add(out, weight, case.v[key][kv])
    return out


def _weights(case: AttentionCase, token: int, head: int) -> _Weights:
    start = next(begin for begin, end in pairwise(case.cu_seqlens) if begin <= token < end)
    if case.window is not None:
        start = max(start, token - case.window + 1)
    keys, kv = range(start, token + 1), head // (len(case.q[0]) // len(case.k[0]))
    scores = [_dot(case.q[token][head], case.k[key][kv]) * case.scale for key in keys]
    slopes = [1.0] * len(scores)
    if case.softcap:
        bent = [math.tanh(score / case.softcap) for score in scores]
        scores, slopes = [case.softcap * each for each in bent], [1.0 - each * each for each in bent]
    sink = -math.inf if case.sinks is None else case.sinks[head]
    top = max(*scores, sink)
    total = sum(math.exp(score - top) for score in scores) + math.exp(sink - top)
    return _Weights(keys, [math.exp(score - top) / total for score in scores], slopes)


def _dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _add(target: list[float], factor: float, vector: list[float]) -> None:
    for index, value in enumerate(vector):
        target[index] += factor * value


def _zeros(like: Vectors) -> Vectors:
    return [[[0.0] * len(vector) for vector in heads] for heads in like]
