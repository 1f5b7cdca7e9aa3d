"""What follows from what a server tells, and from errors: the parts that need no server."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest
from pymysql import err

from aiomysqlx.diagnosis.advice import advice
from aiomysqlx.diagnosis.deducing import (
    behind,
    days_left,
    is_remote,
    role,
    skew,
    vendor,
    verified,
)
from aiomysqlx.diagnosis.facts import Galera, Member, Replica, Spread
from aiomysqlx.diagnosis.local import _reason
from aiomysqlx.diagnosis.masking import mask_for
from aiomysqlx.diagnosis.timing import look_up, spread
from aiomysqlx.exc import NoHostError

pytestmark = pytest.mark.once


# -- the server ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "comment", "aurora", "expected"),
    [
        ("10.11.6-MariaDB", "Debian 12", False, "MariaDB"),
        ("9.7.0", "MySQL Community Server - GPL", False, "MySQL"),
        ("8.0.36-28", "Percona Server (GPL), Release 28", False, "Percona Server"),
        ("8.0.11-TiDB-v8.1.0", None, False, "TiDB"),
        ("8.0.32", "Source distribution", True, "Amazon Aurora"),
    ],
)
def test_vendor_by_what_a_server_says(
    version: str, comment: str | None, aurora: bool, expected: str
) -> None:
    assert vendor(version, comment, aurora) == expected


@pytest.mark.parametrize(
    ("read_only", "node", "member", "replication", "expected"),
    [
        (False, None, None, None, "primary"),
        (True, None, None, None, "read-only"),
        (None, None, None, None, "not told"),
        (True, None, None, Replica(True, 0.0), "replica, read-only"),
        (False, None, None, Replica(True, 0.0), "replica"),
        (
            False,
            Galera("Synced", "Primary", 3),
            None,
            Replica(True, 0.0),
            "Galera node, Synced, Primary of 3",
        ),
        (
            True,
            None,
            Member("ONLINE", "SECONDARY"),
            None,
            "Group Replication, secondary, ONLINE, read-only",
        ),
        (
            True,
            None,
            Member("OFFLINE", ""),
            None,
            "Group Replication, no member, OFFLINE, read-only",
        ),
    ],
)
def test_role_in_words(
    read_only: bool | None,
    node: Galera | None,
    member: Member | None,
    replication: Replica | None,
    expected: str,
) -> None:
    assert role(read_only, node, member, replication) == expected


@pytest.mark.parametrize(
    ("greeted", "comment", "renumbered", "other_port", "expected"),
    [
        ("10.11.6-MariaDB", "Debian 12", False, False, None),
        ("8.0.30", "(ProxySQL)", True, True, "ProxySQL"),
        ("10.11.6-2-maxscale", None, True, True, "MaxScale"),
        ("9.7.0-router", "MySQL Community Server", True, True, "MySQL Router"),
        ("9.7.0", "MySQL", True, True, "a proxy that knows the protocol"),
        ("9.7.0", "MySQL", False, True, "a proxy or an address translation"),
    ],
)
def test_what_is_between_is_told_by_what_shows(
    greeted: str, comment: str | None, renumbered: bool, other_port: bool, expected: str | None
) -> None:
    found = behind(greeted, comment, renumbered, other_port)

    assert found == expected if found is None else found.partition(":")[0] == expected


@pytest.mark.parametrize(
    ("peer", "remote"),
    [
        (("127.0.0.1", 3306), False),
        (("127.1.2.3", 3306), False),
        (("::1", 3306, 0, 0), False),
        (("10.0.0.1", 3306), True),
        (("fe80::1%eth0", 3306, 0, 2), True),
        ("", True),
        (None, True),
    ],
)
def test_only_a_loopback_address_is_this_machine(peer: Any, remote: bool) -> None:
    assert is_remote(peer) is remote


def test_what_a_context_verifies() -> None:
    context = ssl.create_default_context()
    assert verified(context) == "certificate and name"
    context.check_hostname = False
    assert verified(context) == "certificate"
    context.verify_mode = ssl.CERT_NONE
    assert verified(context) == "nothing"


def test_days_that_a_certificate_has_left() -> None:
    end = {"notAfter": "Jan  3 00:00:00 2030 GMT"}
    at = ssl.cert_time_to_seconds("Jan  1 00:00:00 2030 GMT")

    assert [days_left(end, at), days_left(end, at + 1), days_left(end, at + 3 * 86400)] == [
        2,
        1,
        -1,
    ]
    assert days_left({}, at) is days_left(None, at) is None  # it was not verified


@pytest.mark.parametrize(
    ("clock", "ahead"),
    [
        ("100", 0.0),
        ("100.5", 0.0),
        ("101", 0.0),
        ("99", -1.0),
        ("103.5", 2.5),
        ("", None),
        (None, None),
    ],
)
def test_skew_is_what_is_outside_of_the_time_of_the_question(
    clock: str | None, ahead: float | None
) -> None:
    assert skew(clock, 100.0, 101.0) == ahead


# -- times -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "p50", "p99"), [(1, 1000.0, 1000.0), (2, 1000.0, 2000.0), (100, 50000.0, 99000.0)]
)
def test_spread_is_of_the_times_as_they_are(count: int, p50: float, p99: float) -> None:
    times = [float(number) for number in range(count, 0, -1)]

    assert spread(times) == Spread(count, p50, p99)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", ""])
async def test_address_is_not_looked_up(host: str) -> None:
    assert await look_up(host, 3306) is None


async def test_lookup_of_a_name_takes_its_time_also_if_there_is_none() -> None:
    found, missing = await look_up("localhost", 3306), await look_up("nowhere.invalid", 3306)

    assert found is not None and found > 0
    assert missing is not None and missing > 0


# -- this side -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("implementation", "wanted", "compiled", "words"),
    [
        ("python", "python", True, "AIOMYSQLX_IMPL=python asks for it"),
        ("cython", "", True, "compiled modules are installed"),
        ("python", "", True, "do not load"),
        ("python", "", False, "no compiled modules for this Python are in "),
    ],
)
def test_reason_of_the_build(implementation: str, wanted: str, compiled: bool, words: str) -> None:
    assert words in _reason(implementation, wanted, compiled)


# -- errors ----------------------------------------------------------------------------------------


def caused(error: err.MySQLError, cause: BaseException) -> err.MySQLError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (err.OperationalError(1045, ""), "%40"),
        (err.OperationalError(1049, ""), "create the database"),
        (err.OperationalError(1040, ""), "max_connections"),
        (err.OperationalError(1130, ""), "CREATE USER"),
        (err.OperationalError(3159, ""), "insists on TLS"),
        (err.OperationalError(2026, ""), "docs/tls.md"),
        (err.OperationalError(2059, ""), "another plugin"),
        (err.OperationalError(9999, ""), "error log"),
        (caused(err.OperationalError(2003, ""), ConnectionRefusedError(111, "")), "and the port"),
        (caused(err.OperationalError(2003, ""), FileNotFoundError(2, "")), "@@socket"),
        (caused(err.OperationalError(2003, ""), socket.gaierror(-2, "")), "host's name"),
        (err.OperationalError(2003, "timed out"), "firewalls"),
        (asyncio.TimeoutError(), "--timeout"),
        (NoHostError(2003, ""), "each host"),
        (NoHostError(1045, ""), "%40"),
    ],
    ids=repr,
)
def test_advice_is_about_the_error(error: BaseException, words: str) -> None:
    assert words in advice(error)


def test_secrets_that_come_back_are_masked_in_each_form() -> None:
    secret = "s3 /cr%et\n"
    mask = mask_for({"password": secret, "host": "s3.example"}, {"ssl_key_password": "phrase"})

    said = f"{secret}|s3%20%2Fcr%25et%0A|s3+%2Fcr%25et%0A|phrase|s3.example|\x1b[0m"

    assert mask(said) == "|".join(["(not shown)"] * 4) + "|s3.example|\\x1b[0m"


def test_user_whom_a_server_refuses_is_masked() -> None:
    mask = mask_for({"password": "abc"})  # which is in too many words to be looked for

    assert mask(err.OperationalError(1045, "Access denied for user 'it's'@'h' abc")) == (
        "Access denied for user '(not shown)'@'h' abc (1045)"
    )


@pytest.mark.parametrize(
    "said",
    [
        "User '{}' has exceeded the 'max_connections_per_hour' resource (current value: 1)",
        "User {} already has more than 'max_user_connections' active connections",
        "There is no such grant defined for user '{}' on host '%'",
    ],
)
def test_user_who_has_too_many_connections_or_no_rights_is_masked(said: str) -> None:
    hidden = said.replace("'{}'", "{}").format("'(not shown)'")

    assert mask_for()(said.format("ada b")) == hidden


def test_error_without_a_text_is_named() -> None:
    assert mask_for()(asyncio.TimeoutError()) == "TimeoutError"
