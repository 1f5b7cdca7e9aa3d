"""TLS as a connection uses it, and what to say where it fails."""

from __future__ import annotations

import ssl

from pymysql import err
from pymysql.constants import CR

# OpenSSL's numbers for what does not verify.
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
_OTHER_NAME = frozenset({62, 64})
_STRICT = frozenset(range(80, 95))  # what only VERIFY_X509_STRICT minds


class TLS:
    """TLS as a connection uses it."""

    __slots__ = ("context", "required")

    def __init__(self, context: ssl.SSLContext, required: bool = True) -> None:
        self.context = context
        self.required = required

    def for_server(self, offered: bool) -> ssl.SSLContext | None:
        """Return the context for a server that offers TLS or not; `None`: go on in clear text."""
        if offered:
            return self.context
        if self.required:
            raise err.OperationalError(
                CR.CR_SSL_CONNECTION_ERROR, "TLS was asked for, but the server does not offer it"
            )
        return None


def failure(error: ssl.SSLError, host: str) -> err.OperationalError:
    """Return what to raise where TLS cannot be had of *host*: what failed, and what to do."""
    reason, hint = error.reason or str(error), ""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"its certificate does not verify: {error.verify_message}"
        code = error.verify_code
        if code in _UNKNOWN_AUTHORITY:
            hint = (
                "; ssl_ca= names the file of the authority that has signed it,"
                " ssl_mode='REQUIRED' without it takes any certificate"
            )
        elif code in _OTHER_NAME:
            hint = "; ssl_mode='VERIFY_CA' leaves the host's name unchecked"
        elif code in _STRICT:
            hint = (
                "; Python 3.13 and later insist on it (ssl.VERIFY_X509_STRICT): ssl_strict=False"
                " allows such certificates, as MySQL makes for itself"
            )
    return err.OperationalError(
        CR.CR_SSL_CONNECTION_ERROR, f"no TLS with MySQL server on {host!r}: {reason}{hint}"
    )
