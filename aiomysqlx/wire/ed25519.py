"""Ed25519 signatures (RFC 8032) by keys that are given expanded, as MariaDB's plugins need them.

`client_ed25519` signs with the SHA-512 of the password itself, which no library's key can be made
of. Plain integers will do: a login takes one signature, of a millisecond.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha512

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
# The order of the base point.
_ORDER = 2**252 + 27742317777372353535851937790883648493

# In extended coordinates: x = X/Z, y = Y/Z, xy = T/Z.
_Point = tuple[int, int, int, int]
_NEUTRAL: _Point = 0, 1, 1, 0


def sign(expanded: bytes, message: bytes) -> bytes:
    """Return the signature of *message* by the key whose SHA-512 is *expanded*."""
    secret = int.from_bytes(expanded[:32], "little") & (1 << 254) - 8 | 1 << 254
    public = _encoded(_multiple(secret))
    nonce = _number(expanded[32:], message)
    begin = _encoded(_multiple(nonce))
    proof = (_number(begin, public, message) * secret + nonce) % _ORDER
    return begin + proof.to_bytes(32, "little")


def _number(*parts: bytes) -> int:
    return int.from_bytes(sha512(b"".join(parts)).digest(), "little") % _ORDER


def _sum(first: _Point, second: _Point) -> _Point:
    """Return the sum of any two points: the formula has no exceptions."""
    x1, y1, z1, t1 = first
    x2, y2, z2, t2 = second
    a = (y1 - x1) * (y2 - x2) % _P
    b = (y1 + x1) * (y2 + x2) % _P
    c = 2 * _D * t1 * t2 % _P
    d = 2 * z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _multiple(scalar: int) -> _Point:
    """Return the base point times *scalar*, in as many steps whatever it is."""
    point = _NEUTRAL
    for multiples in _table():
        point = _sum(point, multiples[scalar & 15])
        scalar >>= 4
    return point


def _encoded(point: _Point) -> bytes:
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


@cache
def _table() -> list[list[_Point]]:
    """Return the multiples of the base point by the values of each of a scalar's 64 digits."""
    table = []
    unit = _base()
    for _ in range(64):
        multiples = [_NEUTRAL]
        for _ in range(15):
            multiples.append(_sum(multiples[-1], unit))
        table.append(multiples)
        unit = _sum(multiples[-1], unit)
    return table


def _base() -> _Point:
    y = 4 * pow(5, -1, _P) % _P
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if x * x % _P != square:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    if x & 1:
        x = _P - x
    return x, y, 1, x * y % _P
