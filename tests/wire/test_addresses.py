"""Hosts as people give them: one or several, with ports of their own or without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import aiomysqlx as sa
from aiomysqlx.wire.addresses import Address
from aiomysqlx.wire.hosts import Hosts
from aiomysqlx.wire.settling import settled


def addresses(**given: Any) -> list[str]:
    return [str(address) for address in Hosts.of(settled(given)).addresses]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("h", ["h:3307"]),
        ("h:1", ["h:1"]),
        ("h1,h2:1", ["h1:3307", "h2:1"]),
        (["h1", "h2:1"], ["h1:3307", "h2:1"]),
        (("h1:1",), ["h1:1"]),
        ("::1", ["[::1]:3307"]),
        ("[::1]", ["[::1]:3307"]),
        ("[::1]:1,fe80::1%eth0", ["[::1]:1", "[fe80::1%eth0]:3307"]),
        ("h1,h1:3307,h1:1", ["h1:3307", "h1:1"]),
    ],
    ids=str,
)
def test_host_has_its_own_port_or_the_one_of_all(host: Any, expected: list[str]) -> None:
    assert addresses(host=host, port=3307) == expected


def test_socket_takes_the_place_of_a_host() -> None:
    assert (
        addresses(unix_socket="/run/s") == addresses(unix_socket="/run/s", host="h") == ["/run/s"]
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"host": []}, "'host' is an empty list"),
        ({"host": ["h", 1]}, "'host' has a int, not a str: write each as 'name:port'"),
        ({"host": "h1,::1:33070"}, r"a port that is a number: 'h1:3307', '\[::1\]:3307'"),
        ({"host": "h1,,h2"}, "'host' has an empty name"),
        ({"host": ["h1", ""]}, "'host' has an empty name"),
        ({"host": {"h"}}, "'host' does not take a set: expected a str, a tuple or a list"),
        ({"host": "h1,h2:0"}, "a port that is not from 1 to 65535"),
        ({"host": "h1,h2:65536"}, "a port that is not from 1 to 65535"),
        ({"host": "h1,h2:s3cret"}, "with a port that is a number"),
        ({"host": "h1,[s3cret]"}, r"without '\['"),
        ({"host": "h1,[::1]s3cret"}, r"without '\['"),
        ({"host": ["h1,s3cret"]}, "without ','"),
        ({"host": "h1,s3cret@h2"}, "without '@'"),
        ({"host": ["h1", "mysql://u:s3cret@h2"]}, "takes a URL"),
        ({"host": "h1,h2", "unix_socket": "/run/s"}, "'unix_socket' contradicts"),
        ({"target_session_attrs": "primary"}, "'read-write', .*, got 'primary'"),
        ({"load_balance_hosts": "yes"}, "'disable', 'random', got 'yes'"),
    ],
    ids=str,
)
def test_hosts_that_cannot_be_meant_are_refused_unseen(given: dict[str, Any], message: str) -> None:
    with pytest.raises(sa.ArgumentError, match=message) as caught:
        sa.create_engine(**given)

    assert "s3cret" not in str(caught.value)


def test_option_file_has_several_hosts(tmp_path: Path) -> None:
    file = tmp_path / "my.cnf"
    file.write_text(
        "[client]\nhost=h1,[::1]:1\nport=3307\nsocket=/run/s\nloose-target-session-attrs=read-only\n"
    )

    options = settled({"read_default_file": file})

    assert options.target_session_attrs == "read-only"
    assert addresses(read_default_file=file) == ["h1:3307", "[::1]:1"]


@pytest.mark.parametrize("wrong", ["host=h1,s3cret@h2", "target-session-attrs=s3cret"])
def test_wrong_hosts_of_an_option_file_are_refused_unseen(wrong: str, tmp_path: Path) -> None:
    file = tmp_path / "my.cnf"
    file.write_text(f"[client]\n{wrong}\n")

    with pytest.raises(sa.ArgumentError, match="line 2: option '.*' does not take its v") as caught:
        settled({"read_default_file": file})

    assert "s3cret" not in str(caught.value)


def test_address_is_told_in_words() -> None:
    assert Address("h", 1, None).place == "on 'h', port 1"
    assert Address("h", 1, "/run/s").place == "through socket '/run/s'"


async def test_connection_that_is_not_open_has_the_first_of_its_hosts() -> None:
    connection = sa.Connection(host="h1:1,h2")

    assert (connection.host, connection.port) == ("h1", 1)
