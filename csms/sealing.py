"""What must be read again later, and by nobody who has only the database, is sealed with SECRET_KEY."""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken


class SealBroken(Exception):
    """What is stored cannot be read: SECRET_KEY is not the one it was sealed with."""


class Vault:
    """Seals secrets, and makes the digests by which a presented one is found; both need SECRET_KEY."""

    def __init__(self, secret_key: str) -> None:
        # The key may be a passphrase, so it is stretched; the salt is fixed, since what is sealed must open after a restart.
        keys = hashlib.scrypt(secret_key.encode(), salt=b"roambridge partner tokens", n=2**14, r=8, p=1, dklen=64)
        self._fernet = Fernet(base64.urlsafe_b64encode(keys[:32]))
        self._digest_key = keys[32:]

    def seal(self, secret: str) -> str:
        return self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """Raises SealBroken."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise SealBroken("a stored secret cannot be read: SECRET_KEY has changed") from None

    def digest(self, secret: str) -> str:
        """Equal digests mean equal secrets; without the key nothing can be tried against a stolen table."""
        return hashlib.blake2b(secret.encode(), key=self._digest_key, digest_size=32).hexdigest()
