"""What to say where TLS fails: what was wrong, and which option or setting mends it."""

from __future__ import annotations

import ssl

from pymysql import err
from pymysql.constants import CR

# OpenSSL's numbers for what does not verify.
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
_OTHER_NAME = frozenset({62, 64})
_STRICT = frozenset(range(80, 95))  # what only VERIFY_X509_STRICT minds


def failure(error: ssl.SSLError, host: str, own: bool = False) -> err.OperationalError:
    """Return what to raise where TLS cannot be had of *host*: what failed, and what to do.

    *own* tells that the context is the user's.
    """
    reason, hint = error.reason or str(error), ""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"its certificate does not verify: {error.verify_message}"
        code = error.verify_code
        if code in _UNKNOWN_AUTHORITY:
            hint = (
                "; your context's load_verify_locations() takes the file of the authority that has"
                " signed it"
                if own
                else "; ssl_ca= names the file of the authority that has signed it,"
                " ssl_mode='REQUIRED' without it takes any certificate"
            )
        elif code in _OTHER_NAME:
            way = "check_hostname=False of your context" if own else "ssl_mode='VERIFY_CA'"
            hint = f"; {way} leaves the host's name unchecked"
        elif code in _STRICT:
            way = (
                "your context's verify_flags without it allow" if own else "ssl_strict=False allows"
            )
            hint = (
                f"; Python 3.13 and later insist on it (ssl.VERIFY_X509_STRICT): {way} such"
                " certificates, as MySQL makes for itself"
            )
    return err.OperationalError(
        CR.CR_SSL_CONNECTION_ERROR, f"no TLS with MySQL server on {host!r}: {reason}{hint}"
    )
