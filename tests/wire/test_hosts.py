"""Which of several hosts is tried, in what order, and when a host that failed is tried again."""

from __future__ import annotations

import pytest
from pymysql import err

from aiomysqlx.wire import hosts as hosts_module
from aiomysqlx.wire.addresses import Address
from aiomysqlx.wire.greeting import learned_from
from aiomysqlx.wire.hosts import PRIMARY, STANDBY, Hosts

A, B, C = (Address(name, 3306, None) for name in "abc")
ERROR = err.OperationalError(1045, "no")


class Clock:
    """The time, as the hosts are told."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(hosts_module, "time", clock)
    return clock


@pytest.fixture
def hosts() -> Hosts:
    return Hosts((A, B, C))


def names(hosts: Hosts, want: str = "any") -> str:
    return "".join(address.host for address, _ in hosts.order(want))


def test_order_is_the_one_given(hosts: Hosts) -> None:
    assert names(hosts) == names(hosts, "read-write") == "abc"


def test_random_order_has_each_first() -> None:
    shuffled = Hosts((A, B, C), shuffled=True)

    orders = {names(shuffled) for _ in range(200)}

    assert {order[0] for order in orders} == set("abc")
    assert all(sorted(order) == list("abc") for order in orders)


def test_host_that_failed_is_last_for_a_time(hosts: Hosts, clock: Clock) -> None:
    hosts.failed(A, ERROR)

    assert names(hosts) == "bca"
    clock.now += 1.01
    assert names(hosts) == "abc"


def test_host_that_goes_on_failing_is_last_for_longer_and_longer(
    hosts: Hosts, clock: Clock
) -> None:
    lasting = []
    for _ in range(12):
        assert names(hosts) == "abc"
        hosts.failed(A, ERROR)
        since = clock.now
        while hosts.states[A].is_last:
            clock.now += 0.125
        lasting.append(clock.now - since)

    for number, seconds in enumerate(lasting):
        most = min(2**number, 60)
        assert most / 2 <= seconds <= most + 0.125
    assert len({seconds / min(2**number, 60) for number, seconds in enumerate(lasting)}) > 3


def test_failures_at_the_same_time_count_once(hosts: Hosts, clock: Clock) -> None:
    for _ in range(50):
        hosts.failed(A, ERROR)

    clock.now += 1.01
    assert names(hosts) == "abc"


def test_one_tries_a_host_again_and_the_others_wait_for_its_answer(
    hosts: Hosts, clock: Clock
) -> None:
    hosts.failed(A, ERROR)
    clock.now += 1.01

    assert [names(hosts) for _ in range(3)] == ["abc", "bca", "bca"]
    hosts.answered(A, None)
    assert names(hosts) == "abc"


def test_host_that_is_never_tried_again_is_tried_by_the_next(hosts: Hosts, clock: Clock) -> None:
    hosts.failed(A, ERROR)
    clock.now += 1.01
    assert names(hosts) == "abc"

    clock.now += 5.01

    assert names(hosts) == "abc"


def test_host_that_answered_begins_anew(hosts: Hosts, clock: Clock) -> None:
    for _ in range(5):
        hosts.failed(A, ERROR)
        clock.now += 60
        names(hosts)
    hosts.answered(A, PRIMARY)

    hosts.failed(A, ERROR)
    clock.now += 1.01

    assert names(hosts) == "abc"


def test_host_of_another_role_comes_after_those_that_may_fit(hosts: Hosts, clock: Clock) -> None:
    hosts.passed_over(A, STANDBY)
    hosts.failed(B, ERROR)

    assert names(hosts, "read-write") == "cab"
    assert names(hosts, "read-only") == names(hosts, "any") == "acb"
    clock.now += 30.01
    assert names(hosts, "read-write") == "abc"


def test_host_that_is_to_be_read_write_again_stays_where_it_was_given(hosts: Hosts) -> None:
    hosts.answered(B, PRIMARY)

    assert names(hosts, "read-write") == "abc"


def test_standby_is_looked_for_first_and_then_any_host(hosts: Hosts) -> None:
    hosts.answered(A, PRIMARY)
    hosts.failed(B, ERROR)

    assert hosts.order("prefer-standby") == [
        (C, "read-only"),
        (C, "any"),
        (A, "any"),
        (B, "any"),
    ]


def test_counts_of_each_host(hosts: Hosts) -> None:
    hosts.answered(A, PRIMARY)
    hosts.passed_over(B, STANDBY)
    hosts.failed(C, ERROR)

    stats = hosts.stats({A: 2})

    assert stats["a:3306"] == {
        "connections": 2,
        "opened": 1,
        "failed": 0,
        "passed_over": 0,
        "role": "primary",
        "error": None,
    }
    assert (stats["b:3306"]["passed_over"], stats["b:3306"]["role"]) == (1, "standby")
    assert (stats["c:3306"]["failed"], stats["c:3306"]["error"]) == (1, "no (1045)")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("0,0", False),
        ("OFF,OFF", False),
        ("off,0", False),
        ("1,0", True),
        ("ON,OFF", True),
        ("NO_LOCK,0", True),
        ("0,1", True),
        (b"0,0", False),
        (None, None),
        ("0", None),
        ("", None),
    ],
)
def test_role_is_told_in_numbers_or_in_words(told: str | bytes | None, expected: object) -> None:
    assert learned_from([(None,) * 7 + (told,)]).is_read_only is expected


def test_role_that_is_not_told_is_none() -> None:
    assert learned_from([(None,) * 7]).is_read_only is None
