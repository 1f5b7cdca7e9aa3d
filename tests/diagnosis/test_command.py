"""The command as people run it: what it prints of a real server, and that no secret is in it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pymysql
import pytest
from faults import FaultyProxy
from private_server import Certificates, Server
from programs import Ended, RunProgram

import aiomysqlx
from aiomysqlx.diagnosis import client_rules, server_rules

pytestmark = pytest.mark.server

# One that means something to URLs, option files, SQL, regular expressions and terminals.
PASSWORD = """p@s:s/w?o&r=d#%41+ '"\\é[1];$(x)"""
USER = "diagnosed"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "diagnosis.md"
RULES = "".join(Path(each.__file__).read_text() for each in (client_rules, server_rules))
KEYS = set(re.findall(r'Problem\(\s*"(\w+)"', RULES))

Diagnose = Callable[..., Ended]
Found = Callable[..., dict[str, Any]]


@pytest.fixture
def least(admin: pymysql.Connection[Any], server: Server) -> Iterator[str]:
    """The URL of a user that may do nothing but log in, whose password has odd characters."""
    with admin.cursor() as cursor:
        for host in ("localhost", "127.0.0.1"):
            cursor.execute(f"DROP USER IF EXISTS {USER}@'{host}'")
            cursor.execute(f"CREATE USER {USER}@'{host}' IDENTIFIED BY %s", (PASSWORD,))
        yield f"mysql+aiomysqlx://{USER}:{quote(PASSWORD, safe='')}@{server.host}:{server.port}/"
        for host in ("localhost", "127.0.0.1"):
            cursor.execute(f"DROP USER {USER}@'{host}'")


def keys(facts: dict[str, Any]) -> set[str]:
    return {problem["key"] for problem in facts["problems"]}


def assert_no_secret(ended: Ended, *others: str) -> None:
    said = ended.stdout + ended.stderr
    forms = (PASSWORD, quote(PASSWORD), quote(PASSWORD, safe=""), PASSWORD[:8], PASSWORD[-8:])
    for secret in (*forms, *others):
        assert secret not in said
        assert json.dumps(secret)[1:-1] not in said


def test_text_has_all_its_parts(diagnose: Diagnose, url: str, server: Server) -> None:
    ended = diagnose(url)

    assert (ended.returncode, ended.stderr) == (0, "")
    titles = re.findall(r"^(\w.*)$", ended.stdout, re.M)
    assert titles[-7:] == [
        *("server", "security", "session", "limits", "capabilities", "times", "slow or unsafe")
    ]
    assert titles[0].split()[1:3] == [f"{aiomysqlx.__version__},", f"{aiomysqlx.IMPLEMENTATION}:"]
    assert f"{server.host}:{server.port} (TCP, this machine)" in ended.stdout
    assert "error" not in titles and "out of time" not in ended.stdout
    assert ended.stdout.count("\n    -> ") == ended.stdout.count("]\n    -> ")


@pytest.mark.parametrize("arguments", [["--json"], [], ["--help"]], ids=["json", "text", "help"])
def test_reader_that_has_ended_ends_it_quietly(
    run_program: RunProgram, url: str, arguments: list[str]
) -> None:
    program = """\
import os, runpy, sys
reading, writing = os.pipe()
os.close(reading)
os.dup2(writing, 1)
sys.stdout.reconfigure(write_through=False)
runpy.run_module("aiomysqlx", run_name="__main__", alter_sys=True)
"""

    ended = run_program(program, url, *arguments)

    assert (ended.returncode, ended.stderr) == (141, "")


def test_json_tells_what_the_server_is_like(
    found: Found, url: str, server: Server, admin: pymysql.Connection[Any]
) -> None:
    facts = found(f"{url}?maxsize=3&autocommit=true")

    names = {"mariadb": "MariaDB", "mysql": "MySQL"}
    assert facts["server"]["vendor"] == names[server.flavour]
    with admin.cursor() as cursor:
        cursor.execute("SELECT VERSION(), @@sql_mode, @@max_connections")
        told = cursor.fetchone()
    assert told == (
        facts["server"]["version"],
        facts["session"]["sql_mode"],
        facts["limits"]["max_connections"],
    )
    assert facts["server"]["role"] == "primary" and facts["server"]["read_only"] is False
    assert facts["route"] == {
        "address": f"{server.host}:{server.port}",
        "way": "TCP",
        "remote": False,
        "behind": None,
        "hosts": [],
    }
    assert facts["session"]["character_set"] == facts["session"]["database_character_set"]
    assert facts["session"]["autocommit"] is True
    assert abs(facts["session"]["clock_skew"]) < 1
    assert facts["limits"]["connections"] >= 1
    assert facts["capabilities"] == {
        "prepared_statements": True,
        "pipelining": True,
        "bulk": server.flavour == "mariadb",
        "session_tracking": True,
        "deprecate_eof": True,
    }
    assert facts["not_visible"] == [] and facts["error"] is None


def test_times_and_the_test_of_the_pool_are_there(found: Found, url: str) -> None:
    facts = found(f"{url}?maxsize=3", "--timeout=60")

    timings, pool = facts["timings"], facts["pool_test"]
    assert timings["connect"] > 0
    for name in ("ping", "select", "acquire"):
        assert timings[name]["count"] == 200
        assert 0 < timings[name]["p50"] <= timings[name]["p99"]
    assert timings["release"]["count"] == 50
    assert (pool["statements"], pool["maxsize"], pool["opened"]) == (200, 3, 2)
    assert pool["waited"] > 0 and pool["error"] is None
    assert facts["out_of_time"] == []


def test_url_is_taken_from_the_environment(found: Found, url: str) -> None:
    facts = found(AIOMYSQLX_URL=url)

    assert facts["server"] is not None


def test_database_that_is_not_utf8mb4_and_root_are_found(
    found: Found, url: str, database: str, admin: pymysql.Connection[Any]
) -> None:
    with admin.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {database} CHARACTER SET latin1")

    facts = found(f"{url}?sql_mode=NO_BACKSLASH_ESCAPES&local_infile=true")

    assert keys(facts) >= {
        *("database_charset", "root", "no_password", "not_strict", "no_backslash_escapes"),
        "local_infile",
    }


def test_user_who_may_see_nothing_gets_a_diagnosis(
    diagnose: Diagnose, found: Found, least: str
) -> None:
    text, facts = diagnose(least), found(least)

    assert text.returncode == 0
    assert "replica" in facts["not_visible"]
    assert re.search(r"^  replication +not visible to this user$", text.stdout, re.M)
    assert facts["session"]["sql_mode"] is not None
    assert facts["security"]["account"] == "named"
    assert facts["security"]["has_password"] is True
    assert facts["pool_test"]["statements"] > 0
    assert_no_secret(text, USER)
    assert_no_secret(diagnose(least, "--json"), USER)


def test_nothing_is_changed_on_the_server(
    diagnose: Diagnose, least: str, admin: pymysql.Connection[Any]
) -> None:
    with admin.cursor() as cursor:
        cursor.execute("SHOW GLOBAL VARIABLES")
        before = dict(cursor.fetchall())
        writes = written(cursor)

        assert diagnose(least).returncode == 0

        assert written(cursor) == writes
        cursor.execute("SHOW GLOBAL VARIABLES")
        after = dict(cursor.fetchall())
    moving = {"gtid_binlog_pos", "gtid_current_pos", "timestamp", "error_count", "warning_count"}
    assert {name for name in before if before[name] != after[name]} <= moving


def written(cursor: pymysql.cursors.Cursor) -> dict[str, str]:
    """Give how often statements that change something were executed."""
    kinds = "insert|update|delete|replace|create|drop|alter|grant|kill|flush|truncate|load"
    cursor.execute(f"SHOW GLOBAL STATUS WHERE Variable_name REGEXP '^Com_({kinds})'")
    return dict(cursor.fetchall())


def test_page_shows_what_is_printed(diagnose: Diagnose, least: str) -> None:
    page = PAGE.read_text()
    shown = page.partition("```text\n")[2].partition("```")[0]

    said = diagnose(least).stdout

    assert names(said) >= names(shown) - {"of the database", "behind"}
    assert names(shown) >= names(said) - {"group"}


def names(text: str) -> set[str]:
    """Give what a diagnosis has names for, without its problems."""
    found = re.findall(r"^ {0,2}(\w[^\n]*?) {2,}", text.partition("\nslow or unsafe")[0], re.M)
    return set(found)


def test_page_lists_every_key() -> None:
    table = PAGE.read_text().partition("## What is slow or unsafe")[2]

    assert set(re.findall(r"`(\w+)`", table)) == KEYS


# -- secrets ---------------------------------------------------------------------------------------


def test_password_of_an_option_file_is_not_shown(
    diagnose: Diagnose, least: str, server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "my.cnf"
    escaped = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
    file.write_text(f"[client]\nuser={USER}\npassword='{escaped}'\nport={server.port}\n")
    file.chmod(0o600)

    ended = diagnose(f"mysql://{server.host}/?read_default_file={quote(str(file))}")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "with a password" in ended.stdout
    assert_no_secret(ended, USER)


def test_password_in_the_query_is_not_shown(diagnose: Diagnose, least: str, server: Server) -> None:
    query = f"user={USER}&password={quote(PASSWORD, safe='')}"

    ended = diagnose(f"mysql://{server.host}:{server.port}/?{query}")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert_no_secret(ended, USER)


def test_refused_login_is_told_in_one_line_without_secrets(
    diagnose: Diagnose, server: Server
) -> None:
    wrong = quote(PASSWORD, safe="")
    url = f"mysql://{USER}:{wrong}@{server.host}:{server.port}/"

    for arguments in ((url,), (url, "--json")):
        ended = diagnose(*arguments)

        assert (ended.returncode, ended.stderr) == (1, "")
        assert "Access denied for user '(not shown)'@" in ended.stdout
        assert "check user and password" in ended.stdout
        assert f"{aiomysqlx.__version__}" in ended.stdout
        assert_no_secret(ended, USER)


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://{USER}:{PASSWORD}@127.0.0.1/",
        f"mysql://{USER}:s3cr@et@127.0.0.1/",
        f"mysql://{USER}@{PASSWORD}:127.0.0.1/",
        "mysql://127.0.0.1:s3cret/",
        "postgresql://me:s3cret@127.0.0.1/",
        "mysql://127.0.0.1/?pasword=s3cret",
        "mysql://127.0.0.1/?password=s3cret&password=s3cret2",
        "mysql://127.0.0.1/?init_command=s3cret&connect_timeout=x",
        "mysql://127.0.0.1/?ssl_ca=/etc/passwd&ssl_key_password=s3cret",
        "s3cret",
    ],
)
def test_url_that_is_wrong_is_not_shown(diagnose: Diagnose, url: str) -> None:
    ended = diagnose(url)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("python -m aiomysqlx: ") and ended.stderr.count("\n") == 1
    assert_no_secret(ended, "s3cr")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("mysql://a:s3cret@b/", "mysql://a:s3cret@b/"),
        ("--password=s3cret", "mysql://b/"),
        ("--timeout", "mysql://a:s3cret@b/"),
        ("--timeout=s3cret", "mysql://b/"),
        ("--json=s3cret", "mysql://b/"),
        ("mysql://b/", "--json", "s3cret"),
        ("mysql://b/", "--timeout", "0"),
        ("mysql://b/", "--timeout", "nan"),
    ],
    ids=lambda arguments: " ".join(arguments) or "none",
)
def test_wrong_arguments_are_not_shown(diagnose: Diagnose, arguments: tuple[str, ...]) -> None:
    ended = diagnose(*arguments)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--help" in ended.stderr and ended.stderr.count("\n") == 1
    assert "s3cret" not in ended.stderr


def test_help_says_what_there_is(diagnose: Diagnose) -> None:
    ended = diagnose("--help")

    assert (ended.returncode, ended.stderr) == (0, "")
    for word in ("AIOMYSQLX_URL", "--json", "--timeout", "Exit status"):
        assert word in ended.stdout


# -- TLS and sockets -------------------------------------------------------------------------------


def test_tls_is_told_and_what_is_verified(found: Found, url: str, tls: Certificates) -> None:
    verified = found(f"{url}?ssl_ca={tls.ca}&ssl_strict=false")["security"]
    trusting = found(f"{url}?ssl_mode=PREFERRED")

    assert verified["tls"] in ("TLSv1.2", "TLSv1.3") and verified["cipher"]
    assert verified["tls_offered"] is True
    assert verified["verified"] == "certificate and name"
    assert verified["certificate_days"] >= 0
    assert trusting["security"]["verified"] == "nothing"
    assert keys(trusting) >= {"tls_preferred", "tls_not_verified"}


def test_certificate_of_another_authority_says_what_to_do(diagnose: Diagnose, url: str) -> None:
    ended = diagnose(f"{url}?ssl=true")

    assert ended.returncode == 1
    assert "its certificate does not verify" in ended.stdout


def test_unix_socket_is_told(found: Found, unix_socket: str) -> None:
    route = found(f"mysql://root@localhost/?unix_socket={unix_socket}")["route"]

    assert (route["way"], route["address"], route["behind"]) == ("Unix socket", unix_socket, None)


# -- a server that is not there --------------------------------------------------------------------


def test_nobody_listening_is_told_with_what_is_installed(
    diagnose: Diagnose, unused_tcp_port: int
) -> None:
    ended = diagnose(f"mysql://root@127.0.0.1:{unused_tcp_port}/", "--json")

    facts = json.loads(ended.stdout)
    assert ended.returncode == 1
    assert "Connection refused" in facts["error"] and "bind_address" in facts["advice"]
    assert facts["client"]["python"] and facts["client"]["libraries"]["SQLAlchemy"]
    assert facts["server"] is None


def test_name_without_an_address_is_told(diagnose: Diagnose) -> None:
    ended = diagnose("mysql://root@nowhere.invalid/")

    assert ended.returncode == 1 and "check the host's name" in ended.stdout


def test_server_that_hangs_is_given_up_in_time(diagnose: Diagnose) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        started = time.monotonic()
        ended = diagnose(f"mysql://root@127.0.0.1:{port}/", "--timeout=0.5")
        took = time.monotonic() - started

    assert ended.returncode == 1
    assert "0.5 seconds" in ended.stdout and "--timeout gives more" in ended.stdout
    assert took < 10


async def test_server_that_falls_silent_is_left_in_time(
    diagnose: Diagnose, proxy: FaultyProxy, connect_kwargs: dict[str, Any]
) -> None:
    proxy.fault_at(b"SHOW GLOBAL STATUS", "hang")
    url = f"mysql://root@127.0.0.1:{proxy.kwargs['port']}/{connect_kwargs['db']}"

    started = time.monotonic()
    ended = await asyncio.to_thread(diagnose, url, "--json", "--timeout=2")

    facts = json.loads(ended.stdout)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert facts["out_of_time"][0] == "server" and facts["timings"]["connect"] > 0
    assert time.monotonic() - started < 20


async def test_connection_that_is_lost_is_told_with_what_was_found(
    diagnose: Diagnose, proxy: FaultyProxy, connect_kwargs: dict[str, Any]
) -> None:
    proxy.fault_at(b"SELECT UNIX_TIMESTAMP", "reset")
    url = f"mysql://root@127.0.0.1:{proxy.kwargs['port']}/{connect_kwargs['db']}"

    ended = await asyncio.to_thread(diagnose, url, "--json")

    facts = json.loads(ended.stdout)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "Lost connection" in facts["error"] and facts["advice"]
    assert facts["server"]["vendor"] and facts["session"] is None


def test_each_of_several_hosts_is_told(found: Found, server: Server, unused_tcp_port: int) -> None:
    hosts = f"127.0.0.1:{unused_tcp_port},{server.host}:{server.port}"

    facts = found(f"mysql://root@{hosts}/")

    dead, alive = facts["route"]["hosts"]
    assert dead["address"] == f"127.0.0.1:{unused_tcp_port}" and "refused" in dead["error"]
    assert (alive["role"], alive["error"]) == ("primary", None)
    assert "host_down" in keys(facts)


def test_import_of_the_package_leaves_the_diagnosis_for_later(run_program: RunProgram) -> None:
    program = """
import sys, aiomysqlx
print([name for name in sys.modules if "diagnosis" in name or name == "argparse"])
"""

    assert run_program(program, imports="asyncio, aiomysql, sqlalchemy").stdout == "[]\n"
