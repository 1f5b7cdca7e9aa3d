"""What is slow or unsafe in the facts, and what to do: by rules, pure functions of `Facts`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import client_rules, server_rules
from .facts import NOTE, SLOW, UNSAFE, Facts, Problem

Rule = Callable[[Facts], Iterator[Problem]]

_ORDER = (UNSAFE, SLOW, NOTE)
# What matters alike is told in this order.
_RULES: tuple[Rule, ...] = (
    *(client_rules.tls, client_rules.account, client_rules.settings),
    *(server_rules.server, client_rules.route, server_rules.session, server_rules.limits),
    *(client_rules.pool_test, client_rules.client, client_rules.timings),
)


def judge(facts: Facts) -> tuple[Problem, ...]:
    """Return what is slow or unsafe, what matters most first."""
    found = [problem for rule in _RULES for problem in rule(facts)]
    return tuple(sorted(found, key=lambda problem: _ORDER.index(problem.severity)))
