"""Option files: read as the servers' own clients read them, or refused without being shown."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from private_server import Server

import aiomysqlx as sa
from aiomysqlx.settings import EngineOptions
from aiomysqlx.wire.greeting import TLS
from aiomysqlx.wire.optionfile import _read
from aiomysqlx.wire.options import CONNECT, TLS_OPTIONS, ConnectOptions
from aiomysqlx.wire.settling import settled

Options = dict[str, Any]


def write(folder: Path, text: str, name: str = "my.cnf") -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


def read(folder: Path, text: str, **arguments: Any) -> ConnectOptions:
    return settled({"read_default_file": write(folder, text), **arguments})


# -- as the clients read them


LINES: dict[str, tuple[str, str]] = {
    "plain": ("password=p", "p"),
    "spaces": ("  password \t= p \t", "p"),
    "indented": ("\tpassword=p", "p"),
    "double quotes": ('password="p w"', "p w"),
    "single quotes": ("password='p w'", "p w"),
    "one quote": ("password='p", "'p"),
    "quotes in the middle": ('password=p"w', 'p"w'),
    "comment": ("password=p # w", "p"),
    "comment without a space": ("password=p#w", "p"),
    "quoted comment": ("password='p # w' # x", "p # w"),
    "semicolon": ("password=p;w", "p;w"),
    "equals": ("password=p=w", "p=w"),
    "escapes": (r"password=\n\t\s\\\x\"", '\n\t \\\\x"'),
    "last backslash": ("password=p\\", "p\\"),
    "percent": ("password=%(user)s %", "%(user)s %"),
    "empty": ("password=", ""),
    "carriage return": ("password=p\r", "p"),
    "underscores": ("loose_password=p", "p"),
    "the last one": ("password=q\npassword=p", "p"),
}


@pytest.mark.parametrize(("lines", "expected"), LINES.values(), ids=LINES)
def test_value_is_read_as_the_clients_read_it(lines: str, expected: str, tmp_path: Path) -> None:
    options = read(tmp_path, f"# comment\n; comment\n\n[client]\nuser=u\n{lines}\n")

    assert (options.user, options.password) == ("u", expected)


def test_options_of_a_file_are_those_of_a_connection(tmp_path: Path) -> None:
    options = read(
        tmp_path,
        "[client]\nhost=h\nport=3307\nuser=u\npassword=p\ndatabase=d\nconnect-timeout=2\n"
        "default-character-set=latin1\nno-beep\nprompt=x\nloose-ssl-nothing=1\n",
    )

    assert (options.host, options.port, options.user, options.password) == ("h", 3307, "u", "p")
    assert (options.db, options.connect_timeout, options.charset) == ("d", 2, "latin1")


def test_zero_is_the_clients_default(tmp_path: Path) -> None:
    options = read(tmp_path, "[client]\nport=0\nconnect-timeout=0\n")

    assert (options.port, options.connect_timeout) == (3306, 10)


GROUPS = (
    "[mysql]\nuser=mysql\n[client-server]\nuser=server\n[app]\nuser=app\n[CLIENT] # x\n"
    "user=client\n[ client ]\nuser=nobody\n[other]\nuser=other\n"
)


@pytest.mark.parametrize(
    ("group", "user"),
    [
        (None, "client"),
        ("client", "client"),
        ("other", "other"),
        ("app", "client"),
        ("x", "client"),
    ],
)
def test_group_is_read_beside_client_and_the_last_line_counts(
    group: str | None, user: str, tmp_path: Path
) -> None:
    assert read(tmp_path, GROUPS, read_default_group=group).user == user


def test_mariadbs_groups_are_read(tmp_path: Path) -> None:
    options = read(tmp_path, "[client-server]\nuser=u\n[client-mariadb]\npassword=p\n")

    assert (options.user, options.password) == ("u", "p")


def test_files_and_folders_are_included_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    write(folder, "[client]\nuser=b\ndatabase=b\n", "b.cnf")
    write(folder, "[client]\nuser=a\n", "a.cnf")
    write(folder, "[client]\nuser=c\n", "c.txt")
    other = write(tmp_path, "[client]\nhost=h\n[mysql]\nport=1\n", "other.cnf")

    options = read(
        tmp_path, f"[client]\nuser=first\n!includedir {folder}\n!include {other}\nport=3\n"
    )

    assert (options.user, options.db, options.host, options.port) == ("b", "b", "h", 3)


def test_home_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "[client]\nuser=u\n", ".my.cnf")

    assert settled({"read_default_file": "~/.my.cnf"}).user == "u"


def test_path_object_names_a_file(tmp_path: Path) -> None:
    file = Path(write(tmp_path, "[client]\nuser=u\n"))

    assert settled({"read_default_file": file}).user == "u"


SWITCHES: dict[str, tuple[str, bool | None]] = {
    "value-less": ("ssl", True),
    "one": ("ssl=1", True),
    "on": ("ssl=ON", True),
    "enabled": ("enable-ssl", True),
    "skipped": ("skip-ssl", None),
    "disabled": ("disable_ssl", None),
    "zero": ("ssl=0", None),
    "not skipped": ("skip-ssl=0", True),
    "not enabled": ("enable-ssl=0", None),
    "skipped at last": ("ssl\nskip-ssl", None),
    "not skipped at last": ("skip-ssl\nssl", True),
    "unverified": ("ssl\nskip-ssl-verify-server-cert", False),
    "disabled mode": ("ssl-mode=DISABLED", None),
    "required": ("ssl_mode=REQUIRED", False),
}


@pytest.mark.parametrize(("lines", "verified"), SWITCHES.values(), ids=SWITCHES)
def test_options_without_a_value_switch_tls(
    lines: str, verified: bool | None, tmp_path: Path
) -> None:
    tls = read(tmp_path, f"[client]\n{lines}\n").ssl

    if verified is None:
        assert tls is None
    else:
        assert isinstance(tls, TLS)
        assert tls.required and tls.context.check_hostname is verified


# Neither a line that begins with '=', which has no name, nor one that is no option.
PIECES = ["a", "x y", "'", '"', "\\", "\\s", '\\"', "#", ";", " ", "\t", "=", "n", "[", "]", "é"]
OPTION = st.lists(st.sampled_from(PIECES), max_size=9).map(
    lambda pieces: "opt = " + "".join(pieces)
)
ORACLE = shutil.which("my_print_defaults")

if ORACLE is not None:

    @given(st.lists(OPTION, min_size=1, max_size=20))
    @settings(max_examples=100)
    def test_lines_are_what_the_servers_own_program_makes_of_them(
        tmp_path: Path, lines: list[str]
    ) -> None:
        file = write(tmp_path, "\n".join(["[client]", *lines, ""]))

        ours = [f"--{line.name}={line.value}\n" for line in _read(file, {"client"}, 0)]

        command = [str(ORACLE), f"--defaults-file={file}", "client"]
        theirs = subprocess.run(command, capture_output=True, check=True).stdout
        assert "".join(ours).encode() == theirs


# -- what is wrong


WRONG: dict[str, tuple[str, str]] = {
    "no group": ("password=s3cret\n", r"line 1: expected a \[group\] before the first option"),
    "group without end": ("[client\npassword=s3cret\n", r"line 1: expected a '\]'"),
    "port": ("[client]\nport=s3cret\n", "line 2: option 'port' does not take its value"),
    "port out of range": ("[client]\nport=70000\n", "line 2: option 'port' does not take its"),
    "timeout": ("[client]\n\nconnect_timeout=s3cret\n", "line 3: option 'connect-timeout' does"),
    "charset": ("[client]\ndefault-character-set=s3cret", "line 2: option 'default-char.* does"),
    "host": ("[client]\nhost=u:s3cret@h\n", "line 2: option 'host' does not take its value"),
    "no value": ("[client]\npassword\n", "line 2: option 'password' has no value"),
    "user without a value": ("[client]\nuser # s3cret\n", "line 2: option 'user' has no value"),
    "switch": (
        "[client]\nssl=s3cret\n",
        "line 2: option 'ssl' does not take its value: expected true or false; 'ssl_mode' takes R",
    ),
    "zero byte in a name": ("[client]\nuser=s3\0cret\n", "its value: expected text$"),
    "mode": (
        "[client]\nssl-mode=s3cret\n",
        "line 2: option 'ssl-mode' takes DISABLED, .*IDENTITY$",
    ),
    "unknown": ("[client]\nssl-s3cret=1\n", "line 2: an option of TLS that is unknown here"),
    "tls": ("[client]\ntls-s3cret=1\n", "line 2: an option of TLS that is unknown here"),
    "off and on": (
        "[client]\nssl-ca=/s3cret\nskip-ssl\n",
        "line 3: option 'skip-ssl' turns TLS off",
    ),
    "no CA": ("[client]\nssl-ca=/s3cret\n", "line 2: option 'ssl-ca' does not load: No such file"),
    "missing file": (
        "!include /missing.cnf\n",
        "line 1: option file '/missing.cnf' does not load: No such",
    ),
    "missing folder": (
        "!includedir /missing\n",
        "line 1: the folder to include cannot be read: No",
    ),
    "no file": ("\n!include\n", "line 2: expected '!include' and a file"),
    "no space": ("\n!include/s3cret\n", "line 2: expected '!include' and a file"),
    "unknown directive": ("!inclde /s3cret\n", "line 1: expected '!include' and a file"),
    "another name": ("[client]\npasswd=s3cret\n", "line 2: the option's name is 'password'"),
    "our name": ("[client]\nusername=s3cret\n", "line 2: the option's name is 'user'"),
    "our other name": (
        "[client]\ncharset=s3cret\n",
        "the option's name is 'default-character-set'",
    ),
    "half a name": ("[client]\npass=s3cret\n", "line 2: the option's name is 'password'"),
    "zero byte": ("!include /a\0s\n", "does not load: that is no name of a file"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_wrong_file_is_refused_with_its_line_and_without_what_it_says(
    text: str, message: str, tmp_path: Path
) -> None:
    file = write(tmp_path, text)

    with pytest.raises(sa.ArgumentError, match=message) as caught:
        sa.create_engine(read_default_file=file)

    assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is caught.value.__cause__ is None


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(sa.ArgumentError, match="option file '/missing' does not load: No such fi"):
        sa.create_engine(read_default_file="/missing")
    with pytest.raises(sa.ArgumentError, match="does not load: it is no regular file"):
        sa.create_engine(read_default_file=str(tmp_path))


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(sa.ArgumentError, match="does not load: it is no regular file"):
        sa.create_engine(read_default_file=str(tmp_path / "pipe"))


def test_file_that_everybody_may_write_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "[client]\nuser=u\n")
    os.chmod(file, 0o666)

    with pytest.raises(sa.ArgumentError, match="everybody may write it"):
        sa.create_engine(read_default_file=file)


def test_file_of_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "my.cnf"
    file.write_bytes("[client]\npassword=s3crêt\n".encode("latin1"))

    with pytest.raises(sa.ArgumentError, match="does not load: line 2 is not UTF-8$") as caught:
        sa.create_engine(read_default_file=str(file))

    assert caught.value.__context__ is None


def test_file_that_includes_itself_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, f"[client]\n!include {tmp_path}/my.cnf\n")

    with pytest.raises(sa.ArgumentError, match="line 2: files include each other more than 10"):
        sa.create_engine(read_default_file=file)


def test_url_names_a_file(tmp_path: Path) -> None:
    file = write(tmp_path, "[client]\nport=s3cret\n")

    with pytest.raises(sa.ArgumentError, match="line 2: option 'port' does not take its value"):
        sa.create_engine(f"mysql://u@h/d?read_default_file={file}")


# -- arguments win


FILE = "[client]\nhost=filehost\nport=3307\nuser=fileuser\npassword=filepassword\ndatabase=filedb\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("host", "h"),
        ("host", "localhost"),
        ("port", 3306),
        ("user", "u"),
        ("password", "p"),
        ("password", ""),
        ("db", "d"),
        ("connect_timeout", 10),
        ("connect_timeout", None),
        ("charset", "utf8mb4"),
    ],
)
def test_argument_wins_over_the_file_though_it_is_the_default(
    name: str, value: Any, tmp_path: Path
) -> None:
    more = "connect-timeout=3\ndefault-character-set=latin1\n"

    options = read(tmp_path, FILE + more, **{name: value})

    expected = {"host": "filehost", "port": 3307, "user": "fileuser", "password": "filepassword"}
    expected |= {"db": "filedb", "connect_timeout": 3, "charset": "latin1", name: value}
    assert {key: getattr(options, key) for key in expected} == expected


@pytest.mark.parametrize("name", ["user", "password", "db"])
def test_none_leaves_the_file_its_say(name: str, tmp_path: Path) -> None:
    assert getattr(read(tmp_path, FILE, **{name: None}), name).startswith("file")


def test_part_of_a_url_wins_over_the_file(tmp_path: Path) -> None:
    from aiomysqlx.url import from_url

    file = write(tmp_path, FILE)

    options = settled(from_url(f"mysql://u:p@h/?read_default_file={file}"))

    assert (options.host, options.user, options.password) == ("h", "u", "p")
    assert (options.port, options.db) == (3307, "filedb")


SOCKET = "[client]\nsocket=/run/file.sock\n"


@pytest.mark.parametrize(
    ("more", "arguments", "socket"),
    [
        ("", {}, "/run/file.sock"),
        ("host=localhost\n", {}, "/run/file.sock"),
        ("host=h\n", {}, None),
        ("", {"host": "h"}, None),
        ("", {"host": "localhost"}, None),
        ("", {"port": 3306}, None),
        ("host=h\n", {"unix_socket": "/run/s"}, "/run/s"),
        ("", {"unix_socket": "/run/s"}, "/run/s"),
    ],
)
def test_socket_of_the_file_is_for_the_local_host_only(
    more: str, arguments: Options, socket: str | None, tmp_path: Path
) -> None:
    assert read(tmp_path, SOCKET + more, **arguments).unix_socket == socket


TLS_FILE: dict[str, tuple[str, Options, bool, bool]] = {
    "off wins": ("ssl-mode=VERIFY_CA", {"ssl": False}, False, False),
    "disabled wins": ("ssl", {"ssl_disabled": True}, False, False),
    "nothing is said": ("ssl-mode=REQUIRED", {"ssl_disabled": False}, True, True),
    "None says nothing": ("ssl-mode=REQUIRED", {"ssl": None}, True, True),
    "on wins": ("skip-ssl", {"ssl": True}, True, True),
    "mode wins": ("ssl-mode=REQUIRED", {"ssl_mode": "PREFERRED"}, True, False),
    "mode wins over off": ("skip-ssl", {"ssl_mode": "REQUIRED"}, True, True),
    "what asks wins over off": ("skip-ssl", {"ssl_verify_identity": False}, True, True),
    "what asks wins over DISABLED": ("ssl-mode=disabled", {"tls_version": "TLSv1.3"}, True, True),
    "what asks wins over maybe": ("ssl-mode=PREFERRED", {"tls_version": "TLSv1.3"}, True, True),
    "dictionary wins": ("ssl-mode=PREFERRED\nssl-ca=/missing", {"ssl": {}}, True, True),
}


@pytest.mark.parametrize(("lines", "arguments", "on", "required"), TLS_FILE.values(), ids=TLS_FILE)
def test_tls_of_an_argument_wins_over_the_files(
    lines: str, arguments: Options, on: bool, required: bool, tmp_path: Path
) -> None:
    tls = read(tmp_path, f"[client]\n{lines}\n", **arguments).ssl

    assert (tls is not None) is on
    assert (isinstance(tls, TLS) and tls.required) is required


def test_files_of_tls_come_from_file_and_argument_alike(tmp_path: Path, tls: Any) -> None:
    text = f"[client]\nssl-ca={tls.ca}\nssl-mode=VERIFY_IDENTITY\n"

    wanted = read(
        tmp_path, text, ssl_mode="VERIFY_CA", ssl_cert=tls.client_cert, ssl_key=tls.client_key
    )

    assert isinstance(wanted.ssl, TLS)
    assert not wanted.ssl.context.check_hostname
    assert len(wanted.ssl.context.get_ca_certs()) == 1


# -- with a server


@pytest.mark.server
async def test_engine_connects_by_a_file(server: Server, url: str, tmp_path: Path) -> None:
    database = url.rpartition("/")[2]
    file = write(
        tmp_path,
        f"[client]\n  user = '{server.user}'\n\tpassword = \"{server.password}\" # none\n"
        f"host={server.host}\nport={server.port}\n[app]\ndatabase={database}\n",
    )

    async with (
        sa.create_engine(read_default_file=file, read_default_group="app") as engine,
        engine.acquire() as conn,
    ):
        assert await conn.scalar("SELECT DATABASE()") == database


@pytest.mark.server
async def test_file_is_not_read_again_for_a_later_connection(
    server: Server, tmp_path: Path
) -> None:
    file = write(
        tmp_path, f"[client]\nuser={server.user}\nhost={server.host}\nport={server.port}\n"
    )

    async with sa.create_engine(read_default_file=file, maxsize=2) as engine:
        os.unlink(file)
        async with engine.acquire() as one, engine.acquire() as other:
            assert await one.scalar("SELECT 1") == await other.scalar("SELECT 1") == 1


# -- what the page says


PAGE = (Path(__file__).resolve().parents[2] / "docs" / "connecting.md").read_text()
SAID_BY_OTHERS = {"ssl_verify_server_cert", "ssl_disabled"}


def test_page_names_every_other_name_of_an_option() -> None:
    others = {name for option in EngineOptions.fields.values() for name in option.aliases}

    assert {name for name in others if f"`{name}`" not in PAGE} == set()


def test_page_names_every_option_of_tls_and_of_a_file() -> None:
    words = set(re.findall(r"[\w-]+", PAGE))
    in_files = {
        name
        for field in CONNECT.values()
        for name in field.in_files
        if field.name not in TLS_OPTIONS
    }

    assert in_files | TLS_OPTIONS - SAID_BY_OTHERS <= words
