"""Budgets of callers: debts, refills, and who is remembered."""

from __future__ import annotations

import pytest

from fhirhub.errors import TooManyRequests
from fhirhub.http import budget as module
from fhirhub.http.budget import Budget, weight


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_who_is_in_debt_waits_until_it_is_paid() -> None:
    clock = Clock()
    budget = Budget(60, clock)
    budget.admit("a")
    assert budget.charge("a", 45) == {
        "RateLimit-Policy": '"caller";q=60;w=60',
        "RateLimit": '"caller";r=15;t=45',
    }
    budget.admit("a")
    budget.charge("a", 25)
    with pytest.raises(TooManyRequests) as refused:
        budget.admit("a")
    assert refused.value.status == 429 and refused.value.issues[0].code == "throttled"
    assert refused.value.headers["Retry-After"] == "11"
    assert refused.value.headers["RateLimit"] == '"caller";r=0;t=11'
    budget.admit("b")
    clock.now += 11
    budget.admit("a")


def test_one_dear_answer_does_not_lock_anybody_out_for_long() -> None:
    clock = Clock()
    budget = Budget(60, clock)
    budget.charge("a", 1e12)
    with pytest.raises(TooManyRequests) as refused:
        budget.admit("a")
    assert int(refused.value.headers["Retry-After"]) <= 61


def test_buckets_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALLERS", 2)
    budget = Budget(10, Clock())
    for key in ("a", "b", "c"):
        budget.charge(key, 20)
    budget.admit("a")
    for key in ("b", "c"):
        with pytest.raises(TooManyRequests):
            budget.admit(key)


def test_without_a_quota_nothing_is_counted() -> None:
    budget = Budget(0)
    assert budget.charge("a", 1e9) == {}
    budget.admit("a")


def test_searches_cost_by_what_they_look_at() -> None:
    assert weight("read") == 1
    assert weight("search-type", 50_000) == 51
