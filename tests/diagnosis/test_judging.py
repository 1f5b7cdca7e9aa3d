"""What is found slow or unsafe in the facts, a rule at a time."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aiomysqlx.diagnosis import client_rules, server_rules
from aiomysqlx.diagnosis.facts import (
    Capabilities,
    Client,
    Facts,
    Galera,
    Host,
    Limits,
    Member,
    PoolTest,
    Replica,
    Route,
    Security,
    Server,
    Session,
    Settings,
    Spread,
    Timings,
)
from aiomysqlx.diagnosis.judging import judge

pytestmark = pytest.mark.once

CLIENT = Client("1", "cython", "", "3.14", "Linux", "asyncio", False, {})
SETTINGS = Settings(
    hosts=1,
    target_session_attrs="any",
    minsize=1,
    maxsize=10,
    pool_recycle=-1,
    max_idle=None,
    max_lifetime=None,
    pool_pre_ping=False,
    acquire_timeout=5.0,
    statement_timeout=30.0,
    connect_timeout=10.0,
    autocommit=True,
    local_infile="off",
    multi_statements=False,
    track_gtids=False,
    tls="required",
)
FAST = Spread(200, 0.2, 1.0)
# Nothing is wrong with these.
FACTS = Facts(
    client=CLIENT,
    settings=SETTINGS,
    route=Route("db:3306", "TCP", True, None, ()),
    server=Server("MariaDB", "10.11", "", "primary", False, None, None, None),
    security=Security(
        "TLSv1.3", True, "AES", "certificate and name", 90, "caching_sha2_password", True, "named"
    ),
    session=Session(
        *("utf8mb4", "utf8mb4_bin") * 3,
        has_database=True,
        sql_mode="STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION",
        time_zone="SYSTEM",
        system_time_zone="UTC",
        isolation_level="REPEATABLE-READ",
        autocommit=True,
        completion_type="NO_CHAIN",
        clock_skew=0.0,
    ),
    limits=Limits(64 << 20, 28800, 151, 0, 12, 20),
    capabilities=Capabilities(True, True, True, True, True),
    timings=Timings(1.0, 10.0, FAST, FAST, FAST, FAST),
    pool_test=PoolTest(16, 4, 200, 0.1, 3, 100, 0.01, None),
)
STANDBY = (Host("a:3306", "primary", None), Host("b:3306", "standby", None))


def changed(facts: Facts, **changes: Any) -> Facts:
    """Give the facts with other values, each named as its part and its field."""
    for name, value in changes.items():
        part, _, field = name.partition("__")
        old = getattr(facts, part)
        facts = replace(facts, **{part: replace(old, **{field: value}) if field else value})
    return facts


def keys(facts: Facts) -> list[str]:
    return [problem.key for problem in judge(facts)]


def test_nothing_is_wrong_with_a_good_server() -> None:
    assert judge(FACTS) == ()


def test_nothing_but_the_settings_is_judged_where_nothing_was_reached() -> None:
    assert judge(Facts(CLIENT, SETTINGS, error="refused")) == ()


CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("pure_python", "slow", {"client__implementation": "python"}),
    ("loop_debug", "slow", {"client__debug": True}),
    ("local_infile", "unsafe", {"settings__local_infile": "all"}),
    ("multi_statements", "unsafe", {"settings__multi_statements": True}),
    ("no_connect_timeout", "unsafe", {"settings__connect_timeout": None}),
    ("no_time_limit", "note", {"settings__acquire_timeout": None}),
    ("no_time_limit", "note", {"settings__statement_timeout": None}),
    ("pool_without_limit", "unsafe", {"settings__maxsize": 0}),
    ("tls_preferred", "unsafe", {"settings__tls": "preferred"}),
    ("tls_off", "unsafe", {"security__tls": None, "security__verified": None}),
    ("tls_not_verified", "unsafe", {"security__verified": "nothing"}),
    ("tls_not_verified", "note", {"security__verified": "nothing", "route__remote": False}),
    ("tls_name_not_verified", "unsafe", {"security__verified": "certificate"}),
    ("certificate_expires", "unsafe", {"security__certificate_days": 13}),
    ("no_password", "unsafe", {"security__has_password": False}),
    ("root", "note", {"security__account": "root"}),
    ("clear_password", "note", {"security__auth_plugin": "mysql_clear_password"}),
    ("host_down", "unsafe", {"route__hosts": (Host("b:3306", None, "refused"),)}),
    ("gtids_not_tracked", "note", {"route__hosts": STANDBY}),
    ("slow_dns", "slow", {"timings__name_lookup": 100.1}),
    ("slow_round_trip", "slow", {"timings__ping": Spread(9, 5.1, 6.0)}),
    ("jitter", "slow", {"timings__ping": Spread(9, 2.0, 20.1)}),
    ("slow_connect", "slow", {"timings__connect": 204.0}),
    (
        "rollback_at_release",
        "note",
        {
            "settings__autocommit": False,
            "session__autocommit": False,
            "timings__ping": Spread(9, 1.1, 2.0),
        },
    ),
    ("pool_failed", "unsafe", {"pool_test__error": "Too many connections (1040)"}),
    ("read_only", "note", {"server__read_only": True}),
    ("galera", "unsafe", {"server__galera": Galera("Donor/Desynced", "Primary", 3)}),
    ("galera", "unsafe", {"server__galera": Galera("Synced", "non-Primary", 1)}),
    ("group", "unsafe", {"server__group": Member("ERROR", "")}),
    ("replica_stopped", "unsafe", {"server__replica": Replica(False, None)}),
    ("replica_lag", "unsafe", {"server__replica": Replica(True, 10.5)}),
    ("small_packet", "note", {"limits__max_allowed_packet": (16 << 20) - 1}),
    ("outlived", "note", {"settings__pool_recycle": 28800}),
    ("outlived", "note", {"settings__max_idle": 28800.0}),
    ("short_wait_timeout", "note", {"limits__wait_timeout": 3599}),
    ("pool_too_large", "unsafe", {"settings__maxsize": 152}),
    ("pool_too_large", "unsafe", {"limits__max_user_connections": 9}),
    ("little_room", "note", {"limits__connections": 132}),
    ("charset", "unsafe", {"session__character_set": "utf8mb3"}),
    ("database_charset", "note", {"session__database_character_set": "latin1"}),
    ("not_strict", "unsafe", {"session__sql_mode": ""}),
    (
        "no_backslash_escapes",
        "note",
        {"session__sql_mode": "NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES"},
    ),
    ("autocommit_differs", "unsafe", {"session__autocommit": False}),
    (
        "server_without_autocommit",
        "note",
        {"settings__autocommit": None, "session__autocommit": False},
    ),
    ("completion_type", "unsafe", {"session__completion_type": "CHAIN"}),
    ("read_uncommitted", "unsafe", {"session__isolation_level": "READ-UNCOMMITTED"}),
    ("serializable", "slow", {"session__isolation_level": "SERIALIZABLE"}),
    ("clock_skew", "note", {"session__clock_skew": -1.1}),
]


@pytest.mark.parametrize(
    ("key", "severity", "changes"),
    [pytest.param(*case, id=f"{case[0]}-{number}") for number, case in enumerate(CASES)],
)
def test_what_is_slow_or_unsafe_is_found(key: str, severity: str, changes: dict[str, Any]) -> None:
    (problem,) = judge(changed(FACTS, **changes))

    assert (problem.key, problem.severity) == (key, severity)
    assert problem.what and problem.do


@pytest.mark.parametrize(
    "changes",
    [
        {"settings__local_infile": "some"},
        {"security__tls": None, "security__verified": None, "route__remote": False},
        {"security__has_password": False, "route__way": "Unix socket"},
        {"security__certificate_days": 14},
        {"route__hosts": STANDBY, "settings__track_gtids": True},
        {"timings__name_lookup": 100.0},
        {"timings__ping": Spread(9, 5.0, 20.0)},
        {"timings__ping": Spread(9, 0.1, 20.0)},
        {"timings__connect": 203.0},
        {"settings__autocommit": False, "session__autocommit": False},
        {"server__read_only": True, "settings__hosts": 2},
        {"server__read_only": True, "settings__target_session_attrs": "read-only"},
        {"server__galera": Galera("Synced", "Primary", 3)},
        {"server__group": Member("ONLINE", "SECONDARY")},
        {"server__replica": Replica(True, 10.0)},
        {"limits__max_allowed_packet": 16 << 20},
        {"settings__pool_recycle": 28799, "settings__max_idle": 60.0},
        {"limits__wait_timeout": 3600},
        {"limits__wait_timeout": 600, "settings__pool_recycle": 300},
        {"limits__wait_timeout": 600, "settings__pool_pre_ping": True},
        {"settings__maxsize": 151, "limits__connections": None},
        {"limits__connections": 131},
        {"session__database_character_set": "latin1", "session__has_database": False},
        {"session__clock_skew": 1.0},
        {"session": None, "limits": None, "timings": None, "pool_test": None},
        {"limits": Limits(None, None, None, None, None, None)},
        {"timings": Timings(None, 1000.0, None, None, None, None)},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_what_is_neither_is_left_alone(changes: dict[str, Any]) -> None:
    assert judge(changed(FACTS, **changes)) == ()


def test_what_matters_most_comes_first() -> None:
    facts = changed(FACTS, security__account="root", client__debug=True, session__sql_mode="")

    assert keys(facts) == ["not_strict", "loop_debug", "root"]


def test_every_rule_has_a_case() -> None:
    source = "".join(Path(each.__file__).read_text() for each in (client_rules, server_rules))

    assert {key for key, _, _ in CASES} == set(re.findall(r'Problem\(\s*"(\w+)"', source))
