"""Options as people type them: other names, other spellings, and hints where one is not known."""

from __future__ import annotations

import inspect
import re
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from private_server import Server

import aiomysqlx as sa
from aiomysqlx.settings import EngineOptions, Settings
from aiomysqlx.wire import checks, meant
from aiomysqlx.wire import option as option_module
from aiomysqlx.wire import options as options_module
from aiomysqlx.wire.option import option
from aiomysqlx.wire.options import ConnectOptions
from aiomysqlx.wire.settling import settled


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"passwd": "p"}, {"password": "p"}),
        ({"database": "d"}, {"db": "d"}),
        ({"username": "u"}, {"user": "u"}),
        ({"connection_timeout": 3}, {"connect_timeout": 3}),
        ({"ssl_check_hostname": False}, {"ssl_verify_identity": False}),
        ({"ssl-ca": "/ca.pem"}, {"ssl_ca": "/ca.pem"}),
        ({"unix-socket": "/run/s"}, {"unix_socket": "/run/s"}),
        ({"min_size": 2, "max_size": 3}, {"minsize": 2, "maxsize": 3}),
        ({"pool_timeout": 3}, {"acquire_timeout": 3}),
    ],
    ids=lambda value: next(iter(value)),
)
def test_other_names_of_an_option_are_taken(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert EngineOptions.named(given) == expected


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("pool_size", "; did you mean 'maxsize', which counts all connections?"),
        ("max_overflow", "; did you mean 'maxsize', which counts all connections?"),
        ("max_size_", "; did you mean 'maxsize'?"),
        ("hots", "; did you mean 'host'?"),
        ("Host", "; did you mean 'host'?"),
        ("pasword", "; did you mean 'password'?"),
        ("unix_sock", "; did you mean 'unix_socket'?"),
        ("ssl_cafile", "; did you mean 'ssl_ca'?"),
        ("timeout", "; did you mean 'connect_timeout'?"),
        ("command_timeout", "; did you mean 'statement_timeout'?"),
        ("hostname", "; did you mean 'host'?"),
        ("schema", "; did you mean 'db'?"),
        ("pwd", "; did you mean 'password'?"),
        ("useSSL", "; did you mean 'ssl'?"),
        ("connect_args", "; did you mean its entries, as arguments?"),
        ("read_timeout", "; did you mean 'statement_timeout'?"),
        ("password_creator", "; did you mean 'password', which may be a function?"),
        ("cursors", "; did you mean 'cursorclass'?"),
        ("cursor_cls", "; did you mean 'cursorclass', with a class of this package's?"),
        ("encoding", "; did you mean 'charset'?"),
        ("auth_plugin_map", "; did you mean 'auth_plugin'?"),
        ("get_warnings", "; did you mean 'warnings'?"),
        ("pool_reset_session", "; did you mean 'reset'?"),
        ("time_zone", '; did you mean init_command="SET time_zone = …"?'),
        ("nothing_like_it", ""),
    ],
)
def test_unknown_argument_comes_with_what_may_be_meant(given: str, hint: str) -> None:
    with pytest.raises(sa.ArgumentError) as caught:
        sa.create_engine(**{given: 5})

    assert str(caught.value) == f"unknown argument {given!r}{hint}"


def test_engines_argument_of_a_connection_says_who_takes_it() -> None:
    with pytest.raises(
        sa.ArgumentError, match=r"^unknown argument 'maxsize': aiomysqlx.create_engine\(\)"
    ):
        sa.Connection(maxsize=3)  # type: ignore[call-arg]


WITHOUT_ENGINE = "; asyncio.timeout() limits what is awaited, and aiomysqlx.create_engine() takes"


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("read_timeout", f"{WITHOUT_ENGINE} 'statement_timeout'"),
        ("write-timeout", f"{WITHOUT_ENGINE} 'statement_timeout'"),
        ("pool_size", "; aiomysqlx.create_engine() takes 'maxsize', which counts all connections"),
        ("timeout", "; did you mean 'connect_timeout'?"),
        ("nothing_like_it", ""),
    ],
)
def test_what_only_an_engine_has_is_named_as_its_own(given: str, hint: str) -> None:
    with pytest.raises(sa.ArgumentError) as caught:
        sa.Connection(**{given: 5})  # type: ignore[arg-type]

    assert str(caught.value) == f"unknown argument {given!r}{hint}"


@pytest.mark.parametrize("make", [sa.create_engine, sa.Connection], ids=["engine", "connection"])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("binary_prefix", "always written with _binary"),
        ("bind_address", "the operating system chooses"),
        ("compress", "nothing is compressed"),
        ("defer_connect", "connects once it is awaited"),
        ("execution_options", "'isolation_level', 'read_only' and 'warnings' are arguments"),
        ("future", "no other style"),
        ("json_serializer", "give it to the dialect: dialect="),
        ("max_allowed_packet", "'max_packet' limits what it may send"),
        ("named_pipe", "TCP and 'unix_socket'"),
        ("no_delay", "TCP sends at once"),
        ("pool_name", "a pool of its own"),
        ("pool_use_lifo", "used last is lent first"),
        ("poolclass", "from 'minsize' to 'maxsize'"),
        ("reconnect", "ping() connects anew"),
        ("stmt_cache_size", "no statement is prepared"),
        ("use_pure", "AIOMYSQLX_IMPL=python"),
    ],
)
def test_argument_of_other_packages_says_what_there_is_instead(
    make: Any, given: str, words: str
) -> None:
    with pytest.raises(sa.ArgumentError, match=re.escape(words)) as caught:
        make(**{given: 5})

    assert str(caught.value).startswith(f"unknown argument {given!r}; ")


def test_nothing_that_is_taken_has_a_hint_instead() -> None:
    assert [name for name in meant._INSTEAD if EngineOptions.find(name) is not None] == []


@pytest.mark.parametrize(
    "given",
    [{"passwd": "s3cret", "password": "s3cret"}, {"ssl-ca": "/a", "ssl_ca": "/b"}],
    ids=["alias", "spelling"],
)
def test_option_by_two_of_its_names_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(sa.ArgumentError, match="given twice") as caught:
        sa.create_engine(**given)

    assert "s3cret" not in str(caught.value)


def test_option_in_the_url_and_by_another_name_is_refused() -> None:
    with pytest.raises(sa.ArgumentError, match="'password' is given twice"):
        sa.create_engine("mysql://u:p@h", passwd="p")


def test_no_two_options_have_a_name_in_common() -> None:
    names = [
        name for option in EngineOptions.fields.values() for name in (option.name, *option.aliases)
    ]

    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("true", 0.0), ("True", 0.0), ("yes", 0.0), ("false", None), ("2.5", 2.5), ("1", 1.0)],
)
def test_pool_pre_ping_of_a_url_is_true_or_a_number(text: str, seconds: float | None) -> None:
    from aiomysqlx.url import from_url

    assert Settings(from_url(f"mysql://h?pool_pre_ping={text}")).pre_ping == seconds


@pytest.mark.parametrize(
    ("charset", "hint"),
    [
        ("utf-8", "'utf8mb4'"),
        ("UTF-8", "'utf8mb4'"),
        ("utf_8", "'utf8mb4'"),
        ("latin-1", "'latin1'"),
        ("iso-8859-1", "'latin1'"),
        ("us-ascii", "'ascii'"),
        ("utf16", "'utf8mb4'"),
        ("UCS2", "'utf8mb4'"),
        ("utf9", "'utf8mb4'"),
        ("utf8mb4_unicode_ci", "charset='utf8mb4' and collation='utf8mb4_unicode_ci'"),
    ],
)
def test_charset_of_another_name_is_refused_with_the_servers_name(charset: str, hint: str) -> None:
    with pytest.raises(sa.ArgumentError) as caught:
        sa.create_engine(charset=charset)

    assert str(caught.value) == f"unknown charset {charset!r}; did you mean {hint}?"


def test_charset_like_no_other_is_refused_without_a_hint() -> None:
    with pytest.raises(sa.ArgumentError, match="^unknown charset 'nope'$"):
        sa.create_engine(charset="nope")


@pytest.mark.parametrize(
    "host",
    [
        "s3cret@h",
        "mysql://u:s3cret@h",
        "h s3cret",
        "h\ns3cret",
        "h\0s3cret",
        "s3cret%40h",
        "h/s3cret",
    ],
)
def test_host_that_may_hold_a_part_of_a_password_is_refused_unseen(host: str) -> None:
    with pytest.raises(sa.ArgumentError, match="argument 'host' takes a name or") as caught:
        sa.create_engine(host=host)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("host", ["::1", "fe80::1%eth0", "127.0.0.1", "db.example", "bücher"])
def test_host_is_a_name_or_an_address(host: str) -> None:
    assert settled({"host": host}).host == host


def test_options_show_no_password() -> None:
    assert "s3cret" not in repr(settled({"password": "s3cret"}))


def test_signature_names_the_options_with_their_defaults() -> None:
    parameters = inspect.signature(sa.Connection).parameters

    assert list(parameters) == [name for name in EngineOptions.fields if name in parameters]
    assert parameters["host"].default == "localhost"


@pytest.mark.server
async def test_connection_is_made_by_other_names(server: Server, url: str) -> None:
    database = url.rpartition("/")[2]

    async with sa.connect(
        host=server.host,
        port=server.port,
        username=server.user,
        passwd=server.password,
        database=database,
    ) as connection:
        assert (connection.user, connection.db) == (server.user, database)


# -- one place for an option -----------------------------------------------------------------------


def check_colour(colour: str) -> None:
    if colour not in ("red", "green"):
        raise sa.ArgumentError(f"argument 'colour' takes 'red' or 'green', got {colour!r}")


class ColourOptions(ConnectOptions):
    """An option more, which is declared by its field and nothing else."""

    colour: str | None = option(
        "The server's colour.",
        *(None, (str, type(None)), str),
        check=check_colour,
        aliases=("color",),
        meant_by=("tint",),
        in_files="server-colour",
    )


def test_option_is_added_by_its_field_alone() -> None:
    field = ColourOptions.fields["colour"]

    assert list(ColourOptions.fields) == [*ConnectOptions.fields, "colour"]
    assert ColourOptions().colour is None
    assert ColourOptions(colour="red").colour == "red"
    assert ColourOptions.named({"color": "red"}) == {"colour": "red"}
    assert ColourOptions.from_text("colour", "red") == "red"
    assert (field.doc, field.in_files) == ("The server's colour.", ("server-colour",))
    assert (field.annotation, field.expected) == ("str | None", "a str or None")


@pytest.mark.parametrize("name", ["tint", "colur", "colo"])
def test_added_option_is_hinted_at(name: str) -> None:
    with pytest.raises(sa.ArgumentError, match=r"; did you mean 'colour'\?$"):
        ColourOptions.named({name: "red"})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("blue", "argument 'colour' takes 'red' or 'green', got 'blue'"),
        (5, "argument 'colour' does not take 5: expected a str or None"),
        ("red\0", "argument 'colour' has a NUL character"),
        ("\ud800", "argument 'colour' has no utf8 encoding: a surrogate at character 0"),
    ],
)
def test_added_option_is_checked_by_its_field(value: Any, words: str) -> None:
    with pytest.raises(sa.ArgumentError) as caught:
        ColourOptions.fields["colour"].check(value)

    assert str(caught.value) == words


def test_options_are_frozen_and_known() -> None:
    with pytest.raises(FrozenInstanceError):
        settled({}).host = "elsewhere"  # type: ignore[misc]
    with pytest.raises(AssertionError):
        ConnectOptions(colour="red")


def test_every_option_has_a_line_of_its_own() -> None:
    docs = [field.doc for field in EngineOptions.fields.values()]

    assert all(doc[0] in "`ABCDEFGHIJKLMNOPQRSTUVWXYZ" and doc.endswith(".") for doc in docs)
    assert len(set(docs)) == len(docs)


def test_every_default_is_one_that_is_taken() -> None:
    for name, field in ConnectOptions.fields.items():
        if name != "cursorclass":  # the driver's own
            field.check(field.default)


def test_options_look_up_to_nothing_above_the_wire() -> None:
    for module in (option_module, options_module, checks):
        text = Path(module.__file__ or "").read_text()
        assert set(re.findall(r"^from \.\.(\w+)", text, re.M)) <= {"exc", "runtime"}
