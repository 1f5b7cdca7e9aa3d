"""What a client answers the server's authentication plugins.

An exchange is a generator: it gives an answer, or `None` where there is nothing to say, and takes
what the server sends for the plugin next.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from hashlib import pbkdf2_hmac, sha1, sha256, sha512

from pymysql import err
from pymysql.constants import CR

from ..exc import PublicKeyError
from .packets import MalformedPacket

CLEAR = "mysql_clear_password"
NATIVE = "mysql_native_password"

MORE = b"\x01"
"""What is in front of what a server sends for a plugin."""

# What plugins of MySQL's ask, and what they say.
_ASK_SHA256 = b"\x01"
_ASK_CACHING_SHA2 = b"\x02"
_KNOWN = b"\x03"
_UNKNOWN = b"\x04"

_NONCE_SIZE = 20
_ED25519_NONCE_SIZE = 32
# MariaDB's own number of iterations, and the most that its clients make.
_ITERATIONS = 1024
_MOST_DOUBLED = 3

Exchange = Generator[bytes | None, bytes, None]


class Login:
    """What an exchange is made with; it has no repr that would show the password."""

    __slots__ = ("_password", "key", "may_ask", "secure")

    def __init__(self, password: bytes, secure: bool, key: bytes | None, may_ask: bool) -> None:
        self._password = password
        # Whether nobody between the two reads what is sent.
        self.secure: bool = secure
        # The only public key there is, if one was given; else whether to ask the server for one.
        self.key: bytes | None = key
        self.may_ask: bool = may_ask

    @property
    def has_password(self) -> bool:
        """Whether there is a password at all."""
        return bool(self._password)

    def hashed(self, plugin: Callable[[bytes], bytes]) -> bytes:
        """Return what *plugin* makes of the password."""
        return plugin(self._password)

    def clear(self) -> bytes:
        """Return the password as it is sent in clear text."""
        return self._password + b"\0"

    def check_no_nul(self) -> None:
        """Raise an error if the password has a NUL, where servers would take it to end."""
        if b"\0" in self._password:
            raise err.OperationalError(
                CR.CR_AUTH_PLUGIN_ERR,
                "the password has a NUL character, where the server would take it to end",
            )

    def check_key(self) -> None:
        """Raise an error if the server has to be asked for its public key, and must not be."""
        if self.key is None and not self.may_ask:
            raise err.OperationalError(
                CR.CR_AUTH_PLUGIN_ERR,
                "the password cannot be sent without the server's public key, which"
                " get_server_public_key=False forbids to ask for: give server_public_key,"
                " or use TLS",
            )

    def encrypted(self, nonce: bytes, learned: bytes | None) -> bytes:
        """Return the password encrypted with the key that was given, or else the one *learned*."""
        self.check_no_nul()
        text = self.clear()
        mask = (nonce * (len(text) // len(nonce) + 1))[: len(text)]
        masked = bytes(a ^ b for a, b in zip(text, mask, strict=True))
        encrypted = _encrypted(masked, self.key or learned or b"")
        if encrypted is not None:
            return encrypted
        if self.key is None:
            raise MalformedPacket("the server sends no public RSA key")
        raise PublicKeyError(
            CR.CR_AUTH_PLUGIN_ERR,
            "argument 'server_public_key' takes the PEM text of a public RSA key",
        )


Plugin = Callable[[Login, bytes], Exchange]


def _native(login: Login, nonce: bytes) -> Exchange:
    def scramble(password: bytes) -> bytes:
        stage = sha1(password).digest()
        return _xor(stage, sha1(nonce[:_NONCE_SIZE] + sha1(stage).digest()).digest())

    yield login.hashed(scramble) if login.has_password else b""


def _caching_sha2(login: Login, nonce: bytes) -> Exchange:
    def scramble(password: bytes) -> bytes:
        stage = sha256(password).digest()
        return _xor(stage, sha256(sha256(stage).digest() + nonce).digest())

    if not login.has_password:
        yield b""
        return
    nonce = _checked(nonce)
    said = _more((yield login.hashed(scramble)))
    if said == _KNOWN:
        yield None  # the welcome comes
        return
    if said != _UNKNOWN:
        raise MalformedPacket(f"caching_sha2_password says {said[:16]!r}, expected 3 or 4")
    if login.secure:
        yield login.clear()
        return
    yield from _under_key(login, nonce, _ASK_CACHING_SHA2)


def _sha256(login: Login, nonce: bytes) -> Exchange:
    if not login.has_password:
        yield b"\0"
    elif login.secure:
        yield login.clear()
    else:
        yield from _under_key(login, _checked(nonce), _ASK_SHA256)


def _under_key(login: Login, nonce: bytes, question: bytes) -> Exchange:
    login.check_key()
    learned = None if login.key is not None else _more((yield question))
    yield login.encrypted(nonce, learned)


def _clear(login: Login, nonce: bytes) -> Exchange:
    login.check_no_nul()
    yield login.clear()


def _sign(expanded: bytes, message: bytes) -> bytes:
    from .ed25519 import sign  # which few have use for: 0.2 ms of an import

    return sign(expanded, message)


def _ed25519(login: Login, nonce: bytes) -> Exchange:
    if len(nonce) != _ED25519_NONCE_SIZE:
        yield b""  # that of a greeting: the server sends another with its switch
        return
    yield login.hashed(lambda password: _sign(sha512(password).digest(), nonce))


def _parsec(login: Login, nonce: bytes) -> Exchange:
    said = yield b""
    if len(nonce) != _ED25519_NONCE_SIZE:
        raise MalformedPacket(
            f"parsec sends {len(nonce)} random bytes, expected {_ED25519_NONCE_SIZE}"
        )
    if said[:1] == MORE:
        said = said[1:]
    if len(said) < 3 or said[:1] != b"P" or said[1] > _MOST_DOUBLED:
        raise MalformedPacket(
            f"parsec asks for {said[:2]!r}, expected PBKDF2 of 1,024 to 8,192 rounds"
        )
    salt, rounds = said[2:], _ITERATIONS << said[1]

    def signed(password: bytes) -> bytes:
        seed = pbkdf2_hmac("sha512", password, salt, rounds, 32)
        ours = os.urandom(_ED25519_NONCE_SIZE)
        return ours + _sign(sha512(seed).digest(), nonce + ours)

    yield login.hashed(signed)


PLUGINS: dict[str, Plugin] = {
    NATIVE: _native,
    "caching_sha2_password": _caching_sha2,
    "sha256_password": _sha256,
    CLEAR: _clear,
    "client_ed25519": _ed25519,
    "parsec": _parsec,
}


def _more(packet: bytes) -> bytes:
    """Return what a packet holds for a plugin."""
    if packet[:1] != MORE:
        raise MalformedPacket(
            f"expected a packet for the authentication plugin, got {packet[:16]!r}"
        )
    return packet[1:]


def _checked(nonce: bytes) -> bytes:
    """Return the *nonce* of a plugin of MySQL's, without the NUL that a switch has behind it."""
    if not nonce[:_NONCE_SIZE]:
        raise MalformedPacket("an authentication plugin has no random bytes")
    return nonce[:_NONCE_SIZE]


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def _encrypted(text: bytes, pem: bytes) -> bytes | None:
    """Return *text* encrypted under the public RSA key in *pem*; `None` if that has no such key."""
    try:  # as late as this: few logins need it, and its import takes its time
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import padding, rsa
    except ImportError:
        raise err.OperationalError(
            CR.CR_AUTH_PLUGIN_ERR,
            "the password cannot be encrypted without the package cryptography:"
            ' pip install "aiomysqlx[rsa]", or use TLS',
        ) from None
    try:
        key = serialization.load_pem_public_key(pem)
    except Exception:  # of many classes, some of which are the library's own
        return None
    if not isinstance(key, rsa.RSAPublicKey):
        return None
    hashed = hashes.SHA1()
    most = key.key_size // 8 - 2 * hashed.digest_size - 2  # as the padding leaves
    if most <= 0:
        return None
    if len(text) > most:
        raise err.OperationalError(
            CR.CR_AUTH_PLUGIN_ERR,
            f"the password has {len(text) - 1} bytes, of which the server's public key encrypts"
            f" {most - 1} at most: use TLS",
        )
    try:
        return key.encrypt(text, padding.OAEP(padding.MGF1(hashed), hashed, label=None))
    except ValueError:  # that key encrypts nothing
        return None
