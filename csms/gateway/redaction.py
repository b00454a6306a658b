"""The message log never holds a charger's password or a signed address, whichever way the frame crossed the wire."""

import re
from typing import Final

import orjson

from csms.gateway.frames import Json

REDACTED: Final = "[redacted]"
SECRET_KEY: Final = "authorizationkey"  # a configuration key, compared casefolded

_SIGNED_URL = re.compile(r"(?<=://)[^/@\s]*@|\?[^\s#]*")


def redact(text: str) -> str:
    """The frame without its secrets: values of secret configuration keys, and the user and query of every address.

    Returns `text` itself when it holds none. A frame that cannot be read but names a secret key is withheld whole, since
    nobody can say where in it the value stands.
    """
    if "://" not in text and not _names_secret(text):
        return text
    try:
        frame = orjson.loads(text)
        redacted = _without_secrets(frame)
        return text if redacted == frame else orjson.dumps(redacted).decode()
    except (ValueError, TypeError, RecursionError):  # no JSON, or nested without end
        return REDACTED if _names_secret(text) else _SIGNED_URL.sub(REDACTED, text)


def _names_secret(text: str) -> bool:
    # An escaped letter would hide the name from a search of the text.
    return "\\u00" in text or SECRET_KEY in text.casefold()


def _without_secrets(value: Json) -> Json:
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    if isinstance(value, dict):
        kept = {key: _without_secrets(item) for key, item in value.items()}
        if str(value.get("key", "")).casefold() == SECRET_KEY and "value" in kept:
            kept["value"] = REDACTED
        return kept
    if isinstance(value, str) and "://" in value:
        return _SIGNED_URL.sub(lambda match: REDACTED + "@" if match[0].endswith("@") else "?" + REDACTED, value)
    return value
