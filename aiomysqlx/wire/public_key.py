"""Encryption of a password under a server's public key; needs the package cryptography."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

_PADDING = padding.OAEP(
    mgf=padding.MGF1(algorithm=hashes.SHA1()), algorithm=hashes.SHA1(), label=None
)
_PADDING_SIZE = 2 * hashes.SHA1.digest_size + 2


def load(pem: bytes) -> rsa.RSAPublicKey | None:
    """Return the public RSA key in *pem*, or `None` if there is none."""
    try:
        key = serialization.load_pem_public_key(pem)
    except Exception:  # of many classes, some of which are the library's own
        return None
    return key if isinstance(key, rsa.RSAPublicKey) and room(key) > 0 else None


def room(key: rsa.RSAPublicKey) -> int:
    """Return how many bytes *key* encrypts at most."""
    return key.key_size // 8 - _PADDING_SIZE


def encrypt(key: rsa.RSAPublicKey, text: bytes) -> bytes | None:
    """Return *text* encrypted, or `None` if that key encrypts nothing."""
    try:
        return key.encrypt(text, _PADDING)
    except ValueError:
        return None
