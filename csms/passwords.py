"""A station's password is kept only as a salted hash, and is recognised in each form in which chargers send it."""

import binascii
import hashlib
import hmac
import secrets

_SCHEME = "blake2b"
KEY_BYTES = 16  # 32 hex digits, within the 16 to 20 bytes that the security whitepaper allows for an AuthorizationKey


def new_key() -> str:
    """A new password, in hex as the whitepaper has it."""
    return secrets.token_hex(KEY_BYTES)


def hash_password(password: str | bytes) -> str:
    """The text to store. A fast hash on purpose: the keys are long and random, and ten thousand chargers reconnect at
    once."""
    salt = secrets.token_bytes(hashlib.blake2b.SALT_SIZE)
    plain = password.encode() if isinstance(password, str) else password
    return f"{_SCHEME}${salt.hex()}${_digest(plain, salt).hex()}"


def verify(presented: bytes, stored_hash: str) -> bool:
    """Whether the bytes after the colon of HTTP Basic are the password behind `stored_hash`.

    Chargers send an AuthorizationKey as its text, as the hex of that text, or, when the key was given in hex, as the raw
    bytes it stands for. All four readings are always compared, so the time taken tells nothing.
    """
    scheme, _, rest = stored_hash.partition("$")
    salt_hex, _, digest_hex = rest.partition("$")
    try:
        salt, expected = bytes.fromhex(salt_hex), bytes.fromhex(digest_hex)
    except ValueError:
        return False
    if scheme != _SCHEME or len(salt) != hashlib.blake2b.SALT_SIZE:
        return False
    as_hex = presented.hex().encode()
    readings = (presented, _from_hex(presented), as_hex, as_hex.upper())
    matches = [hmac.compare_digest(_digest(reading, salt), expected) for reading in readings]
    return any(matches)


def _from_hex(presented: bytes) -> bytes:
    try:
        return binascii.unhexlify(presented)
    except ValueError:
        return presented


def _digest(password: bytes, salt: bytes) -> bytes:
    return hashlib.blake2b(password, digest_size=32, salt=salt).digest()
