"""TLS as people ask for it: by keyword, in a URL, in an option file."""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fakes import CAPABILITIES, Peer, fake_server
from private_server import Certificates
from pymysql import err
from pymysql.constants import CLIENT

import aiomysqlx as sa
from aiomysqlx.url import from_url
from aiomysqlx.wire.greeting import TLS
from aiomysqlx.wire.settling import settled
from aiomysqlx.wire.tls_errors import failure

Options = dict[str, Any]


def by_keyword(options: Options, folder: Path) -> Options:
    return options


def by_url(options: Options, folder: Path) -> Options:
    texts = {name: quote(str(value), safe="") for name, value in options.items()}
    return from_url("mysql://?" + "&".join(f"{name}={text}" for name, text in texts.items()))


def by_file(options: Options, folder: Path) -> Options:
    file = folder / "my.cnf"
    lines = [f"{name.replace('_', '-')} = {value}" for name, value in options.items()]
    file.write_text("[client]\n" + "\n".join(lines))
    return {"read_default_file": str(file)}


NOT_OFFERED = (
    "TLS was asked for, but the server does not offer it: switch it on there, or do not ask for it"
)
WAYS = {"keyword": by_keyword, "URL": by_url, "option file": by_file}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def given(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Options], Options]:
    """What gives options in one of three ways, as the arguments of `connect()`."""
    return lambda options: request.param(options, tmp_path)


def asked(**arguments: Any) -> TLS | None:
    tls = settled(arguments).ssl
    assert tls is None or isinstance(tls, TLS)
    return tls


# -- never in clear text


ASKING: dict[str, Options] = {
    "ssl": {"ssl": True},
    "REQUIRED": {"ssl_mode": "REQUIRED"},
    "required": {"ssl_mode": "required"},
    "VERIFY_CA": {"ssl_mode": "VERIFY_CA"},
    "VERIFY_IDENTITY": {"ssl_mode": "VERIFY_IDENTITY"},
    "an authority": {"ssl_ca": "ca"},
    "an authority's folder": {"ssl_capath": "folder"},
    "a certificate": {"ssl_cert": "cert", "ssl_key": "key"},
    "a cipher": {"ssl_cipher": "ECDHE-RSA-AES256-GCM-SHA384"},
    "a version": {"tls_version": "TLSv1.2,TLSv1.3"},
    "verified": {"ssl_verify_cert": True},
    "not verified": {"ssl_verify_cert": False},
    "the host's name": {"ssl_verify_identity": True},
    "not the host's name": {"ssl_verify_identity": False},
    "MariaDB's": {"ssl_verify_server_cert": True},
    "not MariaDB's": {"ssl_verify_server_cert": False},
}


async def deaf(peer: Peer) -> None:
    """Take a client without TLS, which is not offered; fail the test if one comes."""
    await peer.welcome(CAPABILITIES & ~CLIENT.SSL)
    raise AssertionError("a client came without TLS")


@pytest.mark.parametrize("options", ASKING.values(), ids=ASKING)
async def test_nothing_that_asks_for_tls_ends_in_clear_text(
    given: Callable[[Options], Options], options: Options, tls: Certificates
) -> None:
    files = {"ca": tls.ca, "folder": tls.ca.parent, "cert": tls.client_cert, "key": tls.client_key}
    options = {
        name: str(files.get(value, value)) if isinstance(value, str) else value
        for name, value in options.items()
    }
    arguments = given(options)

    async with fake_server(deaf) as address:
        with pytest.raises(err.OperationalError) as caught:
            await sa.connect(**{**address, **arguments})

    assert caught.value.args == (2026, NOT_OFFERED)
    assert not sa.is_disconnect(caught.value)


OBJECTS: dict[str, Any] = {
    "a context": ssl.create_default_context(),
    "an empty dictionary": {},
    "a dictionary": {"check_hostname": False, "verify_mode": None},
    "PyMySQL's none": {"ca": None, "check_hostname": False, "verify_mode": ssl.CERT_NONE},
    "a mode": {"mode": "REQUIRED"},
}


@pytest.mark.parametrize("value", OBJECTS.values(), ids=OBJECTS)
async def test_context_or_dictionary_does_not_end_in_clear_text(value: Any) -> None:
    async with fake_server(deaf) as address:
        with pytest.raises(err.OperationalError, match="2026, 'TLS was asked for, but"):
            await sa.connect(**address, ssl=value)


@pytest.mark.parametrize("name", ["ssl_mode", "ssl_ca", "ssl_cert", "ssl_key", "ssl_cipher"])
def test_empty_option_of_tls_is_refused(name: str) -> None:
    with pytest.raises(sa.ArgumentError, match=f"argument '{name}' is empty"):
        sa.create_engine(**{name: ""})
    with pytest.raises(sa.ArgumentError, match="argument 'ssl' with its key .* is empty"):
        sa.create_engine(ssl={name: ""})


@pytest.mark.parametrize(
    "query",
    ["ssl", "ssl=", "ssl_ca", "ssl_ca=", "ssl-ca=", "ssl_mode=", "ssl_cert=&ssl_key=", "x=1&ssl"],
)
def test_option_without_a_value_in_a_url_is_refused(query: str) -> None:
    with pytest.raises(sa.ArgumentError, match="'ssl.*' has no value in the URL|unknown"):
        sa.create_engine(f"mysql://h/d?{query}")


@pytest.mark.parametrize("line", ["ssl-ca=", "ssl-ca", "ssl-mode=", "ssl-mode", "ssl-key = ''"])
def test_option_of_tls_without_a_value_in_a_file_is_refused(line: str, tmp_path: Path) -> None:
    file = tmp_path / "my.cnf"
    file.write_text(f"[client]\n\n{line}\n")

    with pytest.raises(sa.ArgumentError, match=r"my.cnf', line 3: option 'ssl-\w+' (has no|is e)"):
        sa.create_engine(read_default_file=str(file))


# -- in clear text, and what may end there


OFF: dict[str, Options] = {
    "nothing": {},
    "ssl": {"ssl": False},
    "DISABLED": {"ssl_mode": "DISABLED"},
    "both": {"ssl": False, "ssl_mode": "DISABLED"},
    "not verified": {"ssl": False, "ssl_verify_cert": False},
    "PREFERRED": {"ssl_mode": "PREFERRED"},
}


@pytest.mark.parametrize("options", OFF.values(), ids=OFF)
async def test_server_without_tls_is_reached_where_it_is_off_or_only_preferred(
    given: Callable[[Options], Options], options: Options
) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome(CAPABILITIES & ~CLIENT.SSL)
        await peer.read()

    async with (
        fake_server(script) as address,
        sa.connect(**{**address, **given(options)}) as connection,
    ):
        assert not connection.closed


@pytest.mark.parametrize(
    "options",
    [
        *({"ssl": None}, {"ssl_disabled": True}, {"ssl_disabled": False}, {"ssl_ca": None}),
        *({"ssl": {"mode": "DISABLED"}}, {"ssl": {"disabled": True}}),
    ],
    ids=str,
)
def test_none_and_what_pymysql_takes_for_it_ask_for_no_tls(options: Options) -> None:
    assert asked(**options) is None


CONTRADICTIONS: dict[str, tuple[Options, str]] = {
    "off and a CA": ({"ssl": False, "ssl_ca": "/ca"}, "'ssl' turns TLS off.*'ssl_ca'"),
    "DISABLED and on": ({"ssl_mode": "DISABLED", "ssl": True}, "'ssl_mode' turns TLS off"),
    "disabled and CA": ({"ssl_disabled": True, "ssl_ca": "/c"}, "'ssl_disabled' turns TLS off"),
    "off and required": ({"ssl": False, "ssl_mode": "REQUIRED"}, "'ssl' turns TLS off"),
    "on and preferred": ({"ssl": True, "ssl_mode": "PREFERRED"}, "'ssl' contradicts"),
    "dictionary, DISABLED": ({"ssl": {}, "ssl_mode": "DISABLED"}, "'ssl_mode' turns.*'ssl'$"),
    "dictionary, disabled": (
        {"ssl": {"verify_mode": "none"}, "ssl_disabled": True},
        "'ssl_disabled' turns TLS off, which contradicts argument 'ssl'$",
    ),
    "dictionary of nothing": ({"ssl": {"ca": None}, "ssl_disabled": True}, "turns TLS off"),
    "dictionary, preferred": (
        {"ssl": {"check_hostname": False}, "ssl_mode": "PREFERRED"},
        "'ssl' contradicts argument 'ssl_mode'",
    ),
    "preferred, verified": (
        {"ssl_mode": "PREFERRED", "ssl_verify_cert": True},
        "'ssl_verify_cert' contradicts argument 'ssl_mode'",
    ),
    "VERIFY_CA, not verified": (
        {"ssl_mode": "VERIFY_CA", "ssl_verify_cert": False},
        "'ssl_mode' contradicts argument 'ssl_verify_cert'",
    ),
    "VERIFY_IDENTITY, any name": (
        {"ssl_mode": "VERIFY_IDENTITY", "ssl_check_hostname": False},
        "'ssl_mode' contradicts argument 'ssl_verify_identity'",
    ),
    "name without certificate": (
        {"ssl_verify_identity": True, "ssl_verify_server_cert": False},
        "'ssl_verify_identity' contradicts argument 'ssl_verify_server_cert'",
    ),
    "MariaDB's without certificate": (
        {
            "ssl_verify_server_cert": True,
            "ssl_verify_cert": False,
            "ssl_verify_identity": False,
        },
        "'ssl_verify_server_cert' contradicts argument 'ssl_verify_cert'",
    ),
    "context and mode": (
        {"ssl": ssl.create_default_context(), "ssl_mode": "REQUIRED"},
        "'ssl' is a context and contradicts argument 'ssl_mode'",
    ),
    "unknown mode": ({"ssl_mode": "require"}, "takes DISABLED, PREFERRED, .*, got 'require'"),
    "key alone": ({"ssl_key": "/k"}, "argument 'ssl_key' needs 'ssl_cert'"),
    "key in a dictionary": ({"ssl": {"key": "/k"}}, "'ssl' with its key 'key' needs 'ssl_cert'"),
    "unknown key": ({"ssl": {"ca_file": "/c"}}, "'ssl' has the unknown key 'ca_file'; it takes"),
    "key twice": ({"ssl": {"ca": "/c"}, "ssl_ca": "/c"}, "'ca' that is given twice"),
    "key of a type": ({"ssl": {"ca": True}}, "'ca' that does not take a bool"),
    "unknown verify_mode": ({"ssl": {"verify_mode": "maybe"}}, "'verify_mode' that takes 'none'"),
    "old version": ({"tls_version": "TLSv1"}, "'tls_version' takes TLSv1.2, TLSv1.3 or both"),
    "no cipher": ({"ssl_cipher": "NOPE"}, "'ssl_cipher' names no cipher"),
    "missing CA": ({"ssl_ca": "/missing.pem"}, "does not load: No such file.*: '/missing.pem'"),
    "missing folder": ({"ssl_capath": "/missing"}, "'ssl_capath' does not load: No such.*missing'"),
    "missing CRL's folder": ({"ssl_crlpath": "/missing"}, "'ssl_crlpath' does not load: No such"),
    "no folder": ({"ssl_capath": __file__}, "'ssl_capath' does not load: it is no folder: "),
    "folder": ({"ssl_cert": "/"}, "'ssl_cert' does not load: it is no regular file: '/'"),
    "missing key": (
        {"ssl_cert": __file__, "ssl_key": "/s3cret"},
        "'ssl_key' does not load: No such file or directory$",
    ),
    "mode in ssl": (
        {"ssl": "REQUIRED"},
        "'ssl' does not take a str: .*; 'ssl_mode' takes REQUIRED",
    ),
    "no PEM": ({"ssl_ca": __file__}, "'ssl_ca' does not load as PEM: .*test_tls.py'"),
}


@pytest.mark.parametrize(("options", "message"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_options_that_do_not_fit_together_are_refused_at_the_call(
    options: Options, message: str
) -> None:
    with pytest.raises(sa.ArgumentError, match=message) as caught:
        sa.create_engine(**options)

    assert caught.value.__context__ is caught.value.__cause__ is None
    assert "s3cret" not in str(caught.value)


# -- what is verified


LEVELS: dict[str, tuple[Options, bool, bool]] = {
    "on": ({"ssl": True}, True, True),
    "REQUIRED": ({"ssl_mode": "REQUIRED"}, False, False),
    "REQUIRED with an authority": ({"ssl_mode": "REQUIRED", "ssl_ca": ...}, True, False),
    "PREFERRED": ({"ssl_mode": "PREFERRED"}, False, False),
    "VERIFY_CA": ({"ssl_mode": "VERIFY_CA", "ssl_ca": ...}, True, False),
    "VERIFY_IDENTITY": ({"ssl_mode": "verify-identity", "ssl_ca": ...}, True, True),
    "authority": ({"ssl_ca": ...}, True, True),
    "authority, any name": ({"ssl_ca": ..., "ssl_verify_identity": False}, True, False),
    "verified": ({"ssl_verify_cert": True}, True, True),
    "not verified": ({"ssl_verify_cert": False}, False, False),
    "REQUIRED and verified": ({"ssl_mode": "REQUIRED", "ssl_verify_cert": True}, True, False),
    "VERIFY_CA and name": ({"ssl_mode": "VERIFY_CA", "ssl_verify_identity": True}, True, True),
    "MariaDB's": ({"ssl_verify_server_cert": True}, True, True),
    "not MariaDB's": ({"ssl_verify_server_cert": False, "ssl_ca": ...}, False, False),
}


@pytest.mark.parametrize(("options", "cert", "identity"), LEVELS.values(), ids=LEVELS)
def test_what_is_verified_follows_from_the_options(
    given: Callable[[Options], Options],
    options: Options,
    cert: bool,
    identity: bool,
    tls: Certificates,
) -> None:
    options = {name: tls.ca if value is ... else value for name, value in options.items()}

    wanted = asked(**given(options))

    assert wanted is not None
    assert wanted.context.verify_mode is (ssl.CERT_REQUIRED if cert else ssl.CERT_NONE)
    assert wanted.context.check_hostname is identity
    assert wanted.required is (options.get("ssl_mode") != "PREFERRED")


DICTIONARIES: dict[str, tuple[Options, bool, bool]] = {
    "nothing": ({}, True, True),
    "ca": ({"ca": ...}, True, True),
    "ssl_ca": ({"ssl_ca": ...}, True, True),
    "ssl-ca": ({"ssl-ca": ...}, True, True),
    "any name": ({"ca": ..., "check_hostname": False}, True, False),
    "CERT_NONE": ({"ca": ..., "verify_mode": ssl.CERT_NONE}, False, False),
    "none": ({"verify_mode": "none"}, False, False),
    "false": ({"verify_mode": False}, False, False),
    "required": ({"ca": ..., "verify_mode": "Required"}, True, True),
    "mode": ({"mode": "VERIFY_CA", "ca": ...}, True, False),
}


@pytest.mark.parametrize(("entries", "cert", "identity"), DICTIONARIES.values(), ids=DICTIONARIES)
def test_dictionary_is_read_as_pymysqls(
    entries: Options, cert: bool, identity: bool, tls: Certificates
) -> None:
    entries = {name: tls.ca if value is ... else value for name, value in entries.items()}

    wanted = asked(ssl=entries)

    assert wanted is not None and wanted.required
    assert wanted.context.verify_mode is (ssl.CERT_REQUIRED if cert else ssl.CERT_NONE)
    assert wanted.context.check_hostname is identity


def test_versions_that_are_too_old_do_not_count() -> None:
    wanted = asked(tls_version="TLSv1.1, TLSv1.2")

    assert wanted is not None
    assert wanted.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert wanted.context.maximum_version is ssl.TLSVersion.TLSv1_2


def test_context_that_is_given_is_used_as_it_is() -> None:
    context = ssl.create_default_context()

    wanted = asked(ssl=context)

    assert wanted is not None and wanted.context is context


# -- real servers


async def cipher(**arguments: Any) -> str:
    async with sa.connect(**arguments) as connection, connection.cursor() as cursor:
        await cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        row = await cursor.fetchone()
    assert row is not None
    text: str = row[1]
    return text


ENCRYPTED: dict[str, Options] = {
    "REQUIRED": {"ssl_mode": "REQUIRED"},
    "PREFERRED": {"ssl_mode": "PREFERRED"},
    "VERIFY_CA": {"ssl_mode": "VERIFY_CA", "ssl_ca": ...},
    "VERIFY_IDENTITY": {"ssl_mode": "VERIFY_IDENTITY", "ssl_ca": ...},
    "authority": {"ssl_ca": ...},
    "not verified": {"ssl_verify_cert": False},
}


@pytest.mark.server
@pytest.mark.parametrize("options", ENCRYPTED.values(), ids=ENCRYPTED)
async def test_session_is_encrypted(
    given: Callable[[Options], Options],
    options: Options,
    connect_kwargs: Options,
    tls: Certificates,
) -> None:
    options = {name: tls.ca if value is ... else value for name, value in options.items()}

    assert await cipher(**{**connect_kwargs, **given(options)})


@pytest.mark.server
@pytest.mark.parametrize(
    "options",
    [{}, {"ssl": False}, {"ssl_mode": "DISABLED"}, {"ssl_disabled": True}],
    ids=str,
)
async def test_session_is_not_encrypted_where_it_is_not_asked_for(
    connect_kwargs: Options, options: Options, tls: Certificates
) -> None:
    assert await cipher(**connect_kwargs, **options) == ""


@pytest.mark.server
@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"ssl": True}, r"; ssl_ca= names the file of the authority that has signed it"),
        ({"ssl_mode": "VERIFY_CA"}, r"; ssl_ca= names the file"),
    ],
    ids=str,
)
async def test_unknown_authority_is_told_with_what_to_do(
    connect_kwargs: Options, options: Options, hint: str, tls: Certificates
) -> None:
    with pytest.raises(err.OperationalError, match=hint) as caught:
        await sa.connect(**connect_kwargs, **options)

    assert caught.value.args[0] == 2026
    assert f"no TLS with MySQL server on {connect_kwargs['host']!r}: " in caught.value.args[1]
    assert not sa.is_disconnect(caught.value)


@pytest.mark.server
async def test_unknown_authority_of_a_context_is_told_with_what_to_do(
    connect_kwargs: Options, tls: Certificates
) -> None:
    context = ssl.create_default_context()
    hint = r"; your context's load_verify_locations\(\) takes the file of the authority that has"
    with pytest.raises(err.OperationalError, match=hint) as caught:
        await sa.connect(**connect_kwargs, ssl=context)
    assert "ssl_" not in caught.value.args[1]  # which is not taken beside a context

    context.load_verify_locations(tls.ca)

    assert await cipher(**connect_kwargs, ssl=context)


async def test_other_name_is_told_with_what_to_do(tls: Certificates) -> None:
    context = ssl.create_default_context(cafile=tls.ca)

    error = await handshake(context, tls.cert, tls.key, "127.0.0.2")

    assert isinstance(error, ssl.SSLError)
    leaves = "leaves the host's name unchecked"
    assert failure(error, "h").args[1].endswith(f"; ssl_mode='VERIFY_CA' {leaves}")
    of_context = failure(error, "h", own=True).args[1]
    assert of_context.endswith(f"; check_hostname=False of your context {leaves}")
    context.check_hostname = False
    assert await handshake(context, tls.cert, tls.key, "127.0.0.2") is None


@pytest.mark.server
async def test_engine_connects_with_one_context_for_all(
    connect_kwargs: Options, tls: Certificates
) -> None:
    async with sa.create_engine(**connect_kwargs, ssl_ca=tls.ca, minsize=2) as engine:
        one, other = engine._pool.stock.idle

        assert one.options.ssl is other.options.ssl is not None
        async with engine.acquire() as conn:
            result = await conn.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
            assert (await result.fetchall())[0][1]


@pytest.mark.server
async def test_statement_of_an_encrypted_connection_is_killed_over_tls(
    connect_kwargs: Options, tls: Certificates
) -> None:
    async with sa.connect(**connect_kwargs, ssl_ca=tls.ca, kill_on_cancel=True) as connection:
        session = connection._session
        assert session.open_beside is not None
        side = await session.open_beside(session, session.login.where)
        try:
            assert side.options.ssl is session.options.ssl is not None
        finally:
            await side.ensure_closed()


# -- keys with a passphrase


@pytest.fixture(scope="module")
def encrypted_key(tls: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("key") / "key.pem"
    command = ["openssl", "pkey", "-aes128", "-passout", "pass:s3cret", "-in", str(tls.client_key)]
    subprocess.run([*command, "-out", str(file)], check=True, capture_output=True)
    return file


@pytest.mark.server
@pytest.mark.parametrize("name", ["ssl_key_password", "ssl_passphrase"])
async def test_encrypted_key_is_read_with_its_passphrase(
    given: Callable[[Options], Options],
    name: str,
    connect_kwargs: Options,
    tls: Certificates,
    encrypted_key: Path,
) -> None:
    options = {
        "ssl_ca": tls.ca,
        "ssl_cert": tls.client_cert,
        "ssl_key": encrypted_key,
        name: "s3cret",
    }

    assert await cipher(**{**connect_kwargs, **given(options)})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "'ssl_key' is encrypted: give its passphrase as 'ssl_key_password'"),
        ({"ssl_key_password": "wr0ng"}, "'ssl_key' does not load .*'ssl_key_password' right"),
        ({"ssl_key_password": "wr0ng" * 999}, "'ssl_key' does not load .*'ssl_key_password' right"),
    ],
    ids=["none", "wrong", "too long"],
)
def test_encrypted_key_without_its_passphrase_is_refused(
    more: Options, message: str, tls: Certificates, encrypted_key: Path
) -> None:
    with pytest.raises(sa.ArgumentError, match=message) as caught:
        sa.create_engine(ssl_cert=tls.client_cert, ssl_key=encrypted_key, **more)

    assert "wr0ng" not in str(caught.value)


def test_encrypted_key_never_has_the_terminal_asked(tls: Certificates, encrypted_key: Path) -> None:
    program = (
        "import aiomysqlx, sys\n"
        "try:\n"
        "    aiomysqlx.create_engine(ssl_cert=sys.argv[1], ssl_key=sys.argv[2])\n"
        "except aiomysqlx.ArgumentError as error:\n"
        "    print(error)\n"
    )
    # Under a terminal of its own, at which a prompt would wait.
    command = [sys.executable, "-c", program, str(tls.client_cert), str(encrypted_key)]
    code = f"import pty, sys; sys.exit(pty.spawn({command!r}) != 0)"

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(sa.__file__).parent.parent,  # which is the package under test
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )

    assert re.fullmatch(r"argument 'ssl_key' is encrypted: give its [^\n]*\n", done.stdout)


def test_key_of_another_certificate_is_refused(tls: Certificates) -> None:
    with pytest.raises(sa.ArgumentError, match="'ssl_key' does not load: it is not the key of"):
        sa.create_engine(ssl_cert=tls.client_cert, ssl_key=tls.key)


# -- certificates that only a strict client refuses


@pytest.fixture(scope="module")
def plain_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, Path]]:
    """An authority as MySQL makes one, without key identifiers, and a server's certificate."""
    folder = tmp_path_factory.mktemp("plain")
    config = folder / "openssl.cnf"
    config.write_text(
        "[req]\ndistinguished_name=dn\n[dn]\n[ca]\nbasicConstraints=critical,CA:TRUE\n"
        "[leaf]\nsubjectAltName=IP:127.0.0.1\n"
    )
    names = [folder / name for name in ("ca.pem", "ca-key.pem", "cert.pem", "key.pem", "req.pem")]
    ca, ca_key, cert, key, request = map(str, names)
    new_key = [
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        "-config",
        str(config),
    ]
    signed = ["-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "9"]
    for command in (
        [
            "req",
            "-x509",
            *new_key,
            "-extensions",
            "ca",
            "-subj",
            "/CN=a",
            "-keyout",
            ca_key,
            "-out",
            ca,
        ],
        ["req", *new_key, "-subj", "/CN=b", "-keyout", key, "-out", request],
        [
            "x509",
            "-req",
            "-in",
            request,
            *signed,
            "-extfile",
            str(config),
            "-extensions",
            "leaf",
            "-out",
            cert,
        ],
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    return names[0], names[2], names[3]


async def test_what_a_strict_python_refuses_is_told_with_how_to_allow_it(
    plain_authority: tuple[Path, Path, Path],
) -> None:
    ca, cert, key = plain_authority
    strict = ssl.create_default_context(cafile=ca)
    strict.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does by itself

    error = await handshake(strict, cert, key)

    assert isinstance(error, ssl.SSLError)
    told = failure(error, "h")
    assert told.args[0] == 2026
    assert "on 'h': its certificate does not verify: " in told.args[1]
    insist = "; Python 3.13 and later insist on it (ssl.VERIFY_X509_STRICT): "
    assert f"{insist}ssl_strict=False allows such certificates" in told.args[1]
    of_context = failure(error, "h", own=True).args[1]
    assert f"{insist}your context's verify_flags without it allow such certificates" in of_context


async def test_strict_verification_can_be_switched_off(
    plain_authority: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, cert, key = plain_authority
    create = ssl.create_default_context

    def create_strict(**files: Any) -> ssl.SSLContext:
        context = create(**files)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", create_strict)
    strict, wanted = asked(ssl_ca=ca), asked(ssl_ca=ca, ssl_strict=False)

    assert strict is not None and wanted is not None
    assert isinstance(await handshake(strict.context, cert, key), ssl.SSLError)
    assert await handshake(wanted.context, cert, key) is None


async def handshake(
    client: ssl.SSLContext, cert: Path, key: Path, host: str = "127.0.0.1"
) -> BaseException | None:
    """Have a client greet a server with that certificate; give the client's error."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(incoming, outgoing, server_hostname=host)
    other = server.wrap_bio(outgoing, incoming, server_side=True)
    for _ in range(4):
        await asyncio.sleep(0)
        for side in (one, other):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                return error
    return None
