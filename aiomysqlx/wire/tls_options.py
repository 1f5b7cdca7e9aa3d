"""What options ask for of TLS, as a context.

Whatever asks for it is never answered in clear text, but by `ssl_mode=PREFERRED`.
"""

from __future__ import annotations

import errno
import os
import ssl
import stat
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn

from ..exc import ArgumentError
from .greeting import TLS
from .options import CONNECT
from .options import TLS_OPTIONS as NAMES

MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")
# Those that are not too weak; in a list, the others count for nothing.
_VERSIONS = {"tlsv1.2": ssl.TLSVersion.TLSv1_2, "tlsv1.3": ssl.TLSVersion.TLSv1_3}
# The options that decide whether TLS is used, and what of the server is verified.
DECIDING = frozenset(
    {
        *("ssl", "ssl_mode", "ssl_disabled"),
        *("ssl_verify_cert", "ssl_verify_identity", "ssl_verify_server_cert"),
    }
)
_FLAGS = frozenset(name for name in NAMES if CONNECT[name].types == (bool, type(None)))
# What PyMySQL and mysqlclient call the options within a dictionary, without `ssl_`.
_KEYS = {"check_hostname": "verify_identity", "password": "key_password"}
_VERIFY_MODES = {
    False: (False, ssl.CERT_NONE, "none", "0", "false", "no"),
    True: (True, ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED, "optional", "required", "1", "true", "yes"),
}
# What leaves nothing of TLS for other options to say.
_WHOLE = (ssl.SSLContext, TLS, Mapping)


class _EncryptedError(Exception):
    """A key has a passphrase, and none was given."""


def wanted(given: Mapping[str, Any], labels: Mapping[str, str] | None = None) -> TLS | None:
    """Return the TLS that options ask for, if they do.

    *labels* says how to speak of an option that is no argument. Raises `ArgumentError` if the
    options contradict each other, or a file does not load.
    """
    asked = {name: value for name, value in given.items() if name in NAMES and value is not None}
    if isinstance(asked.get("ssl"), TLS) and len(asked) == 1:
        return asked["ssl"]  # type: ignore[no-any-return]
    return _Asked(asked, labels or {}).resolve()


def over(explicit: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of *others* that hold beside those of *explicit*, which win."""
    asked = {name for name, value in explicit.items() if name in NAMES and value is not None}
    if explicit.get("ssl_disabled") is False:  # it says nothing
        asked.remove("ssl_disabled")
    left_out = set(asked)
    if _has_mode(explicit, "DISABLED") or isinstance(explicit.get("ssl"), _WHOLE):
        left_out |= NAMES
    elif asked & DECIDING or (asked and _has_mode(others, "DISABLED", "PREFERRED")):
        left_out |= DECIDING
    return {name: value for name, value in others.items() if name not in left_out}


def _has_mode(given: Mapping[str, Any], *modes: str) -> bool:
    off = given.get("ssl") is False or given.get("ssl_disabled") is True
    return off or str(given.get("ssl_mode")).upper() in modes


class _Asked:
    """The options of TLS that were given."""

    def __init__(self, given: dict[str, Any], labels: Mapping[str, str]) -> None:
        self.given = given
        self.labels = dict(labels)
        entries = given.get("ssl")
        # What a dictionary has, which asks for TLS whatever that is.
        self.in_dictionary: set[str] | None = None
        if isinstance(entries, Mapping):
            del given["ssl"]
            self.in_dictionary = set()
            for key, value in entries.items():
                self._add(str(key)[:40], value)
        if given.get("ssl_disabled") is False:
            del given["ssl_disabled"]

    def resolve(self) -> TLS | None:
        for name, value in self.given.items():
            if value == "":
                raise ArgumentError(f"{self._label(name)} is empty: give a value, or leave it out")
        mode = self._mode()
        off = self._what_turns_it_off(mode)
        # Where it is off, what says that nothing is verified asks for nothing.
        on = [name for name, value in self.given.items() if name not in off and value is not False]
        if self._is_dictionary_beside(*off):
            on.append("ssl")
        if off and on:
            raise ArgumentError(
                f"{self._label(off[0])} turns TLS off, which contradicts {self._label(on[0])}"
            )
        if off or not (self.given or self.in_dictionary is not None):
            return None
        context = self.given.get("ssl")
        if isinstance(context, (ssl.SSLContext, TLS)):
            if len(self.given) > 1:
                other = next(name for name in self.given if name != "ssl")
                raise ArgumentError(
                    f"argument 'ssl' is a context and contradicts {self._label(other)}:"
                    " set that of the context"
                )
            if isinstance(context, TLS):
                return context
            if context.protocol == ssl.PROTOCOL_TLS_SERVER:
                raise ArgumentError("argument 'ssl' is the context of a server, not of a client")
            return TLS(context, own=True)
        cert, identity = self._verified(mode)
        return TLS(self._context(cert, identity), required=mode != "PREFERRED")

    def _add(self, key: str, value: Any) -> None:
        """Add an entry of the dictionary, named as PyMySQL, mysqlclient or we do."""
        if value is None:
            return
        name = key.replace("-", "_").removeprefix("ssl_")
        name = name if name == "tls_version" else f"ssl_{_KEYS.get(name, name)}"
        if name == "ssl_verify_mode":
            name, value = "ssl_verify_cert", _verify_mode(value)
        if name not in NAMES:
            raise ArgumentError(
                f"argument 'ssl' has the unknown key {key!r}; it takes 'ca', 'capath', 'cert',"
                " 'key', 'password', 'cipher', 'check_hostname', 'verify_mode' and 'mode', and"
                " needs none of them"
            )
        if name in self.given:
            raise ArgumentError(f"argument 'ssl' has a key {key!r} that is given twice")
        if not isinstance(value, bool if name in _FLAGS else (str, os.PathLike)):
            raise ArgumentError(
                f"argument 'ssl' has a key {key!r} that does not take a {type(value).__name__}"
            )
        self.given[name] = value
        self.labels[name] = f"argument 'ssl' with its key {key!r}"
        assert self.in_dictionary is not None
        self.in_dictionary.add(name)

    def _is_dictionary_beside(self, *names: str) -> bool:
        """Whether there is a dictionary, and one of these options that it does not have."""
        return self.in_dictionary is not None and not self.in_dictionary.issuperset(names)

    def _label(self, name: str) -> str:
        return self.labels.get(name, f"argument {name!r}")

    def _mode(self) -> str:
        text = self.given.get("ssl_mode", "")
        mode: str = text.upper().replace("-", "_")
        if mode and mode not in MODES:
            shown = f", got {text!r}" if "ssl_mode" not in self.labels else ""
            raise ArgumentError(f"{self._label('ssl_mode')} takes {', '.join(MODES)}{shown}")
        return mode

    def _what_turns_it_off(self, mode: str) -> list[str]:
        states = {
            "ssl": self.given.get("ssl") is False,
            "ssl_disabled": "ssl_disabled" in self.given,
            "ssl_mode": mode == "DISABLED",
        }
        return [name for name, off in states.items() if off]

    def _verified(self, mode: str) -> tuple[bool, bool]:
        """Return whether the server's certificate is verified, and whether its name is."""
        both = self.given.get("ssl_verify_server_cert")
        cert: bool | None = self.given.get("ssl_verify_cert", both)
        identity: bool | None = self.given.get("ssl_verify_identity", both)
        if cert is False and (both or identity):
            wants = "ssl_verify_server_cert" if both else "ssl_verify_identity"
            self._contradict(wants, "ssl_verify_cert")
        if mode == "PREFERRED" and ("ssl" in self.given or self._is_dictionary_beside("ssl_mode")):
            self._contradict("ssl", "ssl_mode")  # which may end in clear text
        if mode == "PREFERRED" and (cert or identity):
            self._contradict("ssl_verify_cert" if cert else "ssl_verify_identity", "ssl_mode")
        if mode.startswith("VERIFY") and cert is False:
            self._contradict("ssl_mode", "ssl_verify_cert")
        if mode == "VERIFY_IDENTITY" and identity is False:
            self._contradict("ssl_mode", "ssl_verify_identity")
        if cert is None:
            has_authority = "ssl_ca" in self.given or "ssl_capath" in self.given
            cert = bool(identity) or has_authority or mode not in ("PREFERRED", "REQUIRED")
        if identity is None:
            identity = cert and mode in ("", "VERIFY_IDENTITY")
        return cert, identity

    def _contradict(self, name: str, other: str) -> NoReturn:
        name, other = (
            "ssl_verify_server_cert" if one in _FLAGS and one not in self.given else one
            for one in (name, other)
        )
        raise ArgumentError(f"{self._label(name)} contradicts {self._label(other)}")

    # -- the context -----------------------------------------------------------------------------

    def _context(self, cert: bool, identity: bool) -> ssl.SSLContext:
        authorities = [self.given.get(name) for name in ("ssl_ca", "ssl_capath")]
        if cert or any(authorities):
            context: ssl.SSLContext = self._load(
                lambda ca, capath: ssl.create_default_context(cafile=ca, capath=capath),
                *("ssl_ca", "ssl_capath"),
            )
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = identity
        context.verify_mode = ssl.CERT_REQUIRED if cert else ssl.CERT_NONE
        if self.given.get("ssl_strict") is False:
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if "ssl_crl" in self.given or "ssl_crlpath" in self.given:
            self._load(context.load_verify_locations, "ssl_crl", "ssl_crlpath")
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
        self._load_own_certificate(context)
        self._restrict(context)
        return context

    def _load(self, load: Callable[..., Any], *names: str) -> Any:
        """Call *load* with the files of these options; raises `ArgumentError`."""
        given = [name for name in names if name in self.given]
        for name in given:
            reason = _unreadable(self.given[name], name.endswith("path"))
            if reason is not None:
                raise ArgumentError(
                    f"{self._label(name)} does not load: {reason}{self._path(name)}"
                )
        try:
            return load(*(self.given.get(name) for name in names))
        except _EncryptedError:
            problem = "is encrypted: give its passphrase as 'ssl_key_password'"
        except (OSError, ValueError) as error:  # an SSLError, too
            reason = getattr(error, "reason", None) or str(error)
            if reason == "KEY_VALUES_MISMATCH":
                problem = "does not load: it is not the key of the certificate"
            elif "ssl_key_password" in self.given and names[0] == "ssl_cert":
                problem = f"does not load ({reason}): is 'ssl_key_password' right?"
            else:
                given = given[:1]
                problem = f"does not load as PEM: {reason}{self._path(given[0])}"
        # Not from within: the frames that were left have the passphrase.
        raise ArgumentError(f"{self._label(given[-1])} {problem}")

    def _path(self, name: str) -> str:
        """Return the file of an option to be shown; people give a key's text in its place."""
        if name in self.labels or name == "ssl_key":
            return ""
        return f": {os.fspath(self.given[name])!r}"

    def _load_own_certificate(self, context: ssl.SSLContext) -> None:
        if "ssl_cert" not in self.given:
            for name in ("ssl_key", "ssl_key_password"):
                if name in self.given:
                    raise ArgumentError(f"{self._label(name)} needs 'ssl_cert'")
            return
        passphrase = self.given.get("ssl_key_password")

        def ask() -> str:  # or OpenSSL would, at the terminal
            if passphrase is None:
                raise _EncryptedError
            return passphrase  # type: ignore[no-any-return]

        names = ("ssl_cert", "ssl_key") if "ssl_key" in self.given else ("ssl_cert",)
        if len(names) == 1 and _lacks_key(self.given["ssl_cert"]):
            raise ArgumentError(
                f"{self._label('ssl_cert')} has no key: give its file as 'ssl_key'"
                f"{self._path('ssl_cert')}"
            )
        self._load(partial(context.load_cert_chain, password=ask), *names)

    def _restrict(self, context: ssl.SSLContext) -> None:
        """Allow the versions and ciphers that were given only."""
        if "tls_version" in self.given:
            names = self.given["tls_version"].lower().replace(" ", "").split(",")
            versions = sorted(_VERSIONS[name] for name in names if name in _VERSIONS)
            if not versions:
                raise ArgumentError(f"{self._label('tls_version')} takes TLSv1.2, TLSv1.3 or both")
            context.minimum_version, context.maximum_version = versions[0], versions[-1]
        if "ssl_cipher" in self.given and not _sets_ciphers(context, self.given["ssl_cipher"]):
            raise ArgumentError(f"{self._label('ssl_cipher')} names no cipher that OpenSSL has")


def _lacks_key(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file has a certificate and no key."""
    try:
        with open(path, "rb") as file:
            text = file.read()
    except (OSError, ValueError):
        return False  # which loading it says
    return b"-----BEGIN CERTIFICATE" in text and b"PRIVATE KEY-----" not in text


def _sets_ciphers(context: ssl.SSLContext, names: str) -> bool:
    try:
        context.set_ciphers(names)
    except ssl.SSLError:
        return False
    return True


def _unreadable(path: str | os.PathLike[str], is_folder: bool) -> str | None:
    """Return why there is no file or folder to be read, if so."""
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except OSError as error:
        return error.strerror
    except ValueError:
        return "that is no name of a file"
    if kind != (stat.S_IFDIR if is_folder else stat.S_IFREG):
        return f"it is no {'folder' if is_folder else 'regular file'}"
    return None if os.access(path, os.R_OK) else os.strerror(errno.EACCES)


def _verify_mode(value: Any) -> bool:
    for verifies, modes in _VERIFY_MODES.items():
        if (value.lower() if isinstance(value, str) else value) in modes:
            return verifies
    raise ArgumentError(
        "argument 'ssl' has a key 'verify_mode' that takes 'none' or 'required' only"
    )
