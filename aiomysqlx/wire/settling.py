"""The options of a connection: put together of arguments, an option file and the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pymysql.constants import CLIENT

from ..exc import ArgumentError
from .addresses import split_hosts
from .charset import DEFAULT_CHARSET, check_collation, is_encodable, python_encoding
from .greeting import TLS
from .options import CONNECT, TLS_OPTIONS, ConnectOptions

if TYPE_CHECKING:
    from .optionfile import Given


def settled(given: Mapping[str, Any]) -> ConnectOptions:
    """Return the options of a connection: those given, else an option file's, else the defaults.

    Raises `ArgumentError` naming the first that is wrong.
    """
    given = ConnectOptions.named(given)
    _check(given)
    labels: dict[str, str] = {}
    file, group = given.pop("read_default_file", None), given.pop("read_default_group", None)
    if file:
        found = _from_file(file, group)
        labels = {name: line.label for name, line in found.items() if given.get(name) is None}
        given = _merged(given, {name: line.value for name, line in found.items()})
        check_collation(given.get("collation", ""), given.get("charset") or DEFAULT_CHARSET)
    rest = {name: value for name, value in given.items() if name not in TLS_OPTIONS}
    if rest.get("charset", "").lower() == "utf8" and not rest.get("collation"):
        rest["charset"] = DEFAULT_CHARSET  # the server's utf8 has no emoji, PyMySQL's is all of it
    options = ConnectOptions(**rest, ssl=_tls(given, labels))
    encoding = python_encoding(options.charset or DEFAULT_CHARSET)
    for name in ("user", "db"):
        if not is_encodable(getattr(options, name), encoding):
            raise ArgumentError(f"argument {name!r} has no {encoding} encoding")
    return options


def _check(given: Mapping[str, Any]) -> None:
    """Check options by themselves, and those that only others give a sense."""
    for name, value in given.items():
        CONNECT[name].check(value)
    if given.get("read_default_group") and not given.get("read_default_file"):
        raise ArgumentError("argument 'read_default_group' needs 'read_default_file'")
    if given.get("client_flag", 0) & CLIENT.LOCAL_FILES and not given.get("local_infile"):
        raise ArgumentError(
            "argument 'client_flag' has CLIENT.LOCAL_FILES, which local_infile= stands for: give a"
            " folder, True or a function"
        )
    if given.get("unix_socket") and len(split_hosts(given.get("host", ""))) > 1:
        raise ArgumentError("argument 'unix_socket' contradicts the several hosts of 'host'")
    charset = given.get("charset", "")
    if charset or not given.get("read_default_file"):  # which may name another
        check_collation(given.get("collation", ""), charset or DEFAULT_CHARSET)


def _from_file(path: str, group: str | None) -> dict[str, Given]:
    """Return the options of an option file, each of which is right by itself."""
    from .optionfile import read_options  # few have one: 0.4 ms of an import

    found = read_options(path, group)
    for name, line in found.items():
        try:
            _check({name: line.value})
        except ArgumentError:
            wrong = line.label
        else:
            continue
        # Not from within: that error may show the value.
        raise ArgumentError(
            f"{wrong} does not take its value: expected {CONNECT[name].expected_text}"
        )
    return found


def _merged(given: dict[str, Any], file: dict[str, Any]) -> dict[str, Any]:
    """Return what is given over what the option file has."""
    from .tls_options import over

    given = {
        name: value
        for name, value in given.items()
        if value is not None or (CONNECT[name].default is not None and name != "password")
    }
    elsewhere = file.get("host", "localhost") != "localhost"
    if "unix_socket" not in given and (elsewhere or given.keys() & {"host", "port"}):
        file.pop("unix_socket", None)  # the clients use it for localhost only
    return {**over(given, file), **given}


def _tls(given: Mapping[str, Any], labels: Mapping[str, str]) -> TLS | None:
    """Return the TLS that options ask for, if they do."""
    asked = {name: value for name, value in given.items() if name in TLS_OPTIONS}
    if all(value is None for value in asked.values()):
        return None
    from .tls_options import wanted  # which makes a context: 0.4 ms of an import

    return wanted(asked, labels)
