"""URLs as the argument of `create_engine()`."""

from __future__ import annotations

import re
import ssl
from typing import Any

import pytest
from private_server import Certificates, Server
from sqlalchemy.engine import make_url

import aiomysqlx as sa
from aiomysqlx.settings import EngineOptions
from aiomysqlx.url import from_url
from aiomysqlx.wire import checks
from aiomysqlx.wire.greeting import TLS
from aiomysqlx.wire.settling import settled


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("mysql://", {}, id="nothing"),
        pytest.param("mysql://host", {"host": "host"}, id="host"),
        pytest.param("mysql://h:3307/d", {"host": "h", "port": 3307, "db": "d"}, id="port"),
        pytest.param("mysql://u:p@h", {"host": "h", "user": "u", "password": "p"}, id="login"),
        pytest.param(
            "mysql://u%40x:p%2F%3A%40%25@h/",
            {"host": "h", "user": "u@x", "password": "p/:@%"},
            id="quoted",
        ),
        pytest.param("mysql://[::1]:1/d", {"host": "::1", "port": 1, "db": "d"}, id="ipv6"),
        pytest.param("mysql://[fe80::1%25eth0]/", {"host": "fe80::1%eth0"}, id="zone"),
        pytest.param("mysql://[fe80::1%eth0]/", {"host": "fe80::1%eth0"}, id="raw-zone"),
        pytest.param(
            "mysql://u@/d?host=h1&host=h2:3307&port=1",
            {"host": ["h1", "h2:3307"], "port": 1, "user": "u", "db": "d"},
            id="hosts-in-the-query",
        ),
        pytest.param("mysql+pymysql://h", {"host": "h"}, id="driver"),
        pytest.param("mariadb+aiomysqlx://h", {"host": "h"}, id="our name"),
        pytest.param("mysql://?username=u&passwd=p", {"user": "u", "password": "p"}, id="alias"),
        pytest.param("mysql://?ssl-mode=REQUIRED", {"ssl_mode": "REQUIRED"}, id="hyphen"),
        pytest.param("mysql://?pool_timeout=3", {"acquire_timeout": 3.0}, id="pool-alias"),
        pytest.param(
            "mysql://u:p?w@h/d?charset=ascii",
            {"host": "h", "user": "u", "password": "p?w", "db": "d", "charset": "ascii"},
            id="question-mark",
        ),
        pytest.param(
            "mysql://h?init_command=SELECT '%40?'",
            {"host": "h", "init_command": "SELECT '@?'"},
            id="question-mark-in-query",
        ),
        pytest.param("mysql+aiomysql://h", {"host": "h"}, id="other-driver"),
        pytest.param("mariadb://h", {"host": "h"}, id="mariadb"),
        pytest.param(
            "mysql://h/d?charset=utf8mb4", {"host": "h", "db": "d", "charset": "utf8mb4"}, id="text"
        ),
        pytest.param("mysql://h?autocommit=true", {"host": "h", "autocommit": True}, id="true"),
        pytest.param("mysql://h?autocommit=0", {"host": "h", "autocommit": False}, id="false"),
        pytest.param("mysql://h?echo=yes", {"host": "h", "echo": True}, id="yes"),
        pytest.param("mysql://h?echo=values", {"host": "h", "echo": "values"}, id="echo-values"),
        pytest.param("mysql://h?client_flag=65536", {"host": "h", "client_flag": 65536}, id="int"),
        pytest.param("mysql://h?max_packet=4096", {"host": "h", "max_packet": 4096}, id="packet"),
        pytest.param(
            "mysql://h?connect_timeout=2.5", {"host": "h", "connect_timeout": 2.5}, id="float"
        ),
        pytest.param(
            "mysql://h?minsize=2&maxsize=0&pool_recycle=30",
            {"host": "h", "minsize": 2, "maxsize": 0, "pool_recycle": 30},
            id="pool",
        ),
        pytest.param(
            "mysql://?unix_socket=/run/my.sock", {"unix_socket": "/run/my.sock"}, id="socket"
        ),
    ],
)
def test_url_gives_connect_arguments(url: str, expected: dict[str, Any]) -> None:
    assert from_url(url) == expected
    assert from_url(make_url(url)) == expected


def test_tls_arguments_make_a_context(tls: Certificates) -> None:
    asked = asked_by(
        f"mysql://h?ssl_ca={tls.ca}&ssl_cert={tls.client_cert}&ssl_key={tls.client_key}"
        "&ssl_check_hostname=false"
    )

    assert asked.required
    assert asked.context.verify_mode is ssl.CERT_REQUIRED
    assert not asked.context.check_hostname


def asked_by(url: str) -> TLS:
    asked = settled(from_url(url)).ssl
    assert isinstance(asked, TLS)
    return asked


def test_host_name_is_checked_by_default(tls: Certificates) -> None:
    assert asked_by(f"mysql://h?ssl_ca={tls.ca}").context.check_hostname


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        pytest.param(["not a url"], {}, "'url' is not a URL", id="no-url"),
        pytest.param(["mysql://h:port/d"], {}, "'url' is not a URL", id="port-is-no-number"),
        pytest.param(["postgresql://h"], {}, "'url' is for 'postgresql'", id="other-database"),
        pytest.param(["mysql+foo://h"], {}, "'url'.*foo", id="unknown-driver"),
        pytest.param(["mysql://h?foo=1"], {}, "unknown argument 'foo'", id="unknown"),
        pytest.param(["mysql://h?ssl_foo=1"], {}, "unknown argument 'ssl_foo'", id="unknown-tls"),
        pytest.param(["mysql://h?echo=1&echo=0"], {}, "'echo' is given twice", id="query-twice"),
        pytest.param(["mysql://h?host=other"], {}, "'host' is given twice", id="host-twice"),
        pytest.param(["mysql://h"], {"host": "other"}, "twice, in the URL", id="keyword-twice"),
        pytest.param(["mysql://u:p@h"], {"password": "q"}, "'password' is given twice", id="login"),
        pytest.param(["mysql://h?minsize=1", 2], {}, "'minsize' is given twice", id="positional"),
        pytest.param(["mysql://h"], {"url": "mysql://h"}, "'url' is given twice", id="url-twice"),
        pytest.param([], {"url": 5}, "'url'", id="url-of-another-type"),
        pytest.param(["mysql://h?minsize=x"], {}, "'minsize' does not take 'x'", id="no-integer"),
        pytest.param(["mysql://h?minsize=1.5"], {}, "'minsize'", id="no-whole-number"),
        pytest.param(
            ["mysql://h?autocommit=maybe"],
            {},
            "'autocommit' .* expected true or f",
            id="no-boolean",
        ),
        pytest.param(["mysql://h?echo=maybe"], {}, "'echo'", id="no-echo"),
        pytest.param(["mysql://h?connect_timeout=nan"], {}, "'connect_timeout'", id="nan"),
        pytest.param(["mysql://h?connect_timeout=-1"], {}, "'connect_timeout'", id="negative"),
        pytest.param(["mysql://h?pool_recycle=nan"], {}, "'pool_recycle'", id="recycle-nan"),
        pytest.param(["mysql://h?charset=nope"], {}, "unknown charset 'nope'", id="charset"),
        pytest.param(["mysql://h?dialect=x"], {}, "URL: give it as an argument", id="object"),
        pytest.param(["mysql://h?conv=x"], {}, "'conv' cannot be given in a URL", id="mapping"),
        pytest.param(["mysql://h?loop=x"], {}, "'loop' cannot be given in a URL", id="loop"),
        pytest.param(["mysql://h?ssl_key=/k"], {}, "'ssl_key' needs 'ssl_cert'", id="key-alone"),
        pytest.param(["mysql://h?ssl=1&ssl_ca=/x"], {}, "'ssl_ca' does not load", id="tls-twice"),
        pytest.param(["mysql://h?ssl_ca=/nonexistent"], {}, "'ssl_ca'", id="no-file"),
        pytest.param(["mysql://h:70000/d"], {}, "'port'", id="port-out-of-range"),
        pytest.param(["mysql://h:0/d"], {}, "'port'", id="port-zero"),
    ],
)
def test_wrong_url_is_refused_at_the_call(
    arguments: list[Any], keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(sa.ArgumentError, match=message):
        sa.create_engine(*arguments, **keywords)


READ_OTHERWISE = [
    name
    for name, field in EngineOptions.fields.items()
    if field.parse not in (str, checks.truth_or_text)
]


@pytest.mark.parametrize("name", READ_OTHERWISE)
def test_wrong_value_in_a_url_is_told_what_can_stand_there(name: str) -> None:
    with pytest.raises(sa.ArgumentError, match=f"^argument '{name}' ") as caught:
        sa.create_engine(f"mysql://h?{name}=wrong")

    types = r"\b(str|int|float|bool|None|mapping|SSLContext|class|function)\b"
    assert re.search(types, str(caught.value)) is None


def test_mode_that_is_given_for_tls_itself_is_told_its_option() -> None:
    with pytest.raises(sa.ArgumentError, match="expected true or false; 'ssl_mode' takes REQUIRED"):
        sa.create_engine("mysql://h?ssl=REQUIRED")


def test_context_beside_the_urls_tls_is_refused(tls: Certificates) -> None:
    with pytest.raises(sa.ArgumentError, match="'ssl' is a context and contradicts .*'ssl_ca'"):
        sa.create_engine(f"mysql://h?ssl_ca={tls.ca}", ssl=ssl.create_default_context())


@pytest.mark.parametrize(
    "name", ["charset", "read_default_file", "unix_socket", "minsize", "password", "init_command"]
)
def test_option_without_a_value_is_refused(name: str) -> None:
    for query in (name, f"{name}=", f"maxsize=3&{name}"):
        with pytest.raises(sa.ArgumentError, match=f"'{name}' has no value in the URL"):
            sa.create_engine(f"mysql://h?{query}")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://h/d#ssl=true",
        "mysql://h/d&ssl=true",
        "mysql://h/d;charset=utf8mb4",
        "mysql://h/d&SSL",
        "mysql://h/d,ssl=true",
        "mysql://h/d?program_name=x;ssl=true",
        "mysql://h/d?program_name=x,ssl_mode=REQUIRED",
        "mysql://h/d?program_name=x#ssl_ca=/x",
        "mysql://h/d?program_name=x?ssl-mode=REQUIRED",
        "mysql://h/d?program_name=x?ssl",
    ],
)
def test_option_in_the_wrong_place_is_refused(url: str) -> None:
    with pytest.raises(sa.ArgumentError, match="'url' has an option that would be left out"):
        sa.create_engine(url)


def test_url_has_several_hosts_which_sqlalchemy_cannot_read() -> None:
    assert from_url("mysql://u:p,w@h1,h2:3307,[::1]:3308,[fe80::1%25eth0]/d?charset=ascii") == {
        "host": ["h1", "h2:3307", "[::1]:3308", "[fe80::1%eth0]"],
        "user": "u",
        "password": "p,w",
        "db": "d",
        "charset": "ascii",
    }


def test_several_hosts_of_sqlalchemys_url_have_no_port_of_one() -> None:
    url = make_url("mysql://h1,h2/d")

    assert from_url(url)["host"] == "h1,h2"
    with pytest.raises(sa.ArgumentError, match="several hosts and one port: give .host=h1:3306&"):
        from_url(url.set(port=3307))


@pytest.mark.parametrize("rest", ["&ssl=true", ";ssl=true", "#?ssl=true"])
def test_what_follows_a_host_is_no_part_of_it(rest: str) -> None:
    with pytest.raises(sa.ArgumentError, match=f"'host' takes a name .*, without '{rest[0]}'"):
        sa.create_engine(f"mysql://h{rest}")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://h/a;b",
        "mysql://h/a,b?tls_version=TLSv1.2,TLSv1",
        "mysql://h/a%26b",
        "mysql://h/a?init_command=SET @a=1; SELECT 2".replace("@", "%40"),
    ],
)
def test_semicolon_elsewhere_is_taken(url: str) -> None:
    assert from_url(url)["host"] == "h"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:p@s3cret@h/d",
        "mysql://u:p@s3/cret@h/d",
        "mysql://u:p@s3/cret@h",
        "mysql://u:p@s3?cret@h/d",
        "mysql://u:p@s3cret:3306@h/d",
        "mysql://h?program_name=s3cret@x",
        "mysql://h/d?ssl_ca=/x&s3cret@x=1",
        "mysql://u:p@h%40s3cret/d",
        "mysql://u:p@s3cret,x@h1,h2/d",
        "mysql://u:p@s3/cret@h1,h2/d",
    ],
)
def test_at_sign_of_a_password_never_makes_a_part_of_it_a_host(url: str) -> None:
    with pytest.raises(sa.ArgumentError) as caught:
        sa.create_engine(url)

    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u@h1,u@h2/d",
        "mysql://u@h1:3306,u@h2:3307/d",
        "mysql://u:s3cret@h1,u:s3cret@h2/d",
        "mysql://u@h1/d,mysql://u@h2/d",
        "mysql://u@h1:3306/d,mysql://u@h2:3306/d",
    ],
)
def test_login_for_each_host_is_refused(url: str) -> None:
    with pytest.raises(sa.ArgumentError, match="user and password once for all hosts") as caught:
        sa.create_engine(url)

    assert "s3cret" not in str(caught.value)


def test_user_of_a_server_may_have_an_at_sign_as_it_stands() -> None:
    arguments = from_url("mysql://u@server:pass,word@h1,h2:3307/d")

    assert (arguments["user"], arguments["password"]) == ("u@server", "pass,word")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:s3cret@h:port/d",
        "postgresql://u:s3cret@h/d",
        "mysql+foo://u:s3cret@h/d",
        "mysql://u:s3cret@h/d?foo=1",
        "mysql://u:s3cret@h/d?password=s3cret",
        "u:s3cret@h",
    ],
)
def test_no_message_shows_the_password(url: str) -> None:
    with pytest.raises(sa.ArgumentError) as caught:
        sa.create_engine(url)

    shown: BaseException | None = caught.value
    while shown is not None:
        assert "s3cret" not in repr(shown)
        shown = shown.__cause__


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:a@[s3cret]]b@h/d",
        "mysql://u@[::1]s3cret/d?ssl=true",
        "mysql://u@[::1]]:s3cret/d",
        "mysql://u@[[::1]]/d",
        "mysql://u@h]s3cret/d",
        "mysql://u@h,[::1]s3cret/d",
    ],
)
def test_bracket_that_would_have_a_part_of_the_url_left_out_is_refused(url: str) -> None:
    with pytest.raises(sa.ArgumentError, match="'url'") as caught:
        sa.create_engine(url)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["mysql://u:[p]@h:1/d[0]?init_command=[", "mysql://u:[p]@[::1]:1/d[0]?init_command=["]
)
def test_bracket_that_is_left_out_nowhere_is_taken(url: str) -> None:
    found = from_url(url)

    assert (found["password"], found["port"], found["db"]) == ("[p]", 1, "d[0]")
    assert found["init_command"] == "["


@pytest.mark.server
async def test_url_connects(server: Server, url: str) -> None:
    async with sa.create_engine(f"{url}?charset=utf8mb4&maxsize=3") as engine:
        assert engine.maxsize == 3
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT DATABASE()") == url.rpartition("/")[2]


@pytest.mark.server
@pytest.mark.parametrize("form", ["text", "keyword", "object"])
async def test_url_is_positional_keyword_or_object(url: str, form: str) -> None:
    if form == "text":
        context = sa.create_engine(url, 2, 4)
    elif form == "keyword":
        context = sa.create_engine(2, 4, url=url)
    else:
        context = sa.create_engine(make_url(url), 2, 4)

    async with context as engine:
        assert (engine.minsize, engine.maxsize, engine.size) == (2, 4, 2)


@pytest.mark.server
async def test_url_connects_over_a_unix_socket(unix_socket: str, url: str) -> None:
    name = url.rpartition("/")[2]

    async with (
        sa.create_engine(f"mysql://root@/{name}?unix_socket={unix_socket}") as engine,
        engine.acquire() as conn,
    ):
        assert await conn.scalar("SELECT 1") == 1


@pytest.mark.server
async def test_url_connects_with_tls(tls: Certificates, url: str) -> None:
    async with sa.create_engine(f"{url}?ssl_ca={tls.ca}") as engine, engine.acquire() as conn:
        rows = await (await conn.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")).fetchall()

    assert rows[0][1]
