"""The message log never holds a charger's password or a signed address, whichever way the frame crossed the wire."""

import re
from typing import Final

import orjson

from csms.gateway.frames import Json
from csms.secret_settings import is_secret, named_in, told_in

REDACTED: Final = "[redacted]"
# By far the most and the longest frames, and none has a field for a setting or an address.
TELL_NO_SECRET: Final = frozenset({"MeterValues", "Heartbeat"})

_SIGNED_URL = re.compile(r"(?<=://)[^/@\s]*@|\?[^\s#]*")
_UPLOAD = re.compile(r"(?<=/uploads/)(\d+)/[^/?#\s\"\\]+")  # whoever has this address may bring the file


def redact(text: str) -> str:
    """The frame without its secrets: values of secret configuration keys, words that may hold one, and the user and query of
    every address.

    Returns `text` itself when it holds none. A frame that cannot be read but names a secret key is withheld whole, since
    nobody can say where in it the value stands.
    """
    if "://" not in text and not named_in(text):
        return text
    try:
        frame = orjson.loads(text)
        redacted = _without_secrets(frame)
        return text if redacted == frame else orjson.dumps(redacted).decode()
    except (ValueError, TypeError, RecursionError):  # no JSON, or nested without end
        return REDACTED if named_in(text) else _SIGNED_URL.sub(REDACTED, _UPLOAD.sub(rf"\1/{REDACTED}", text))


def _without_secrets(value: Json) -> Json:
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    if isinstance(value, dict):
        kept = {key: _named(key, item) for key, item in value.items()}
        if any(key.casefold() == "key" and is_secret(str(item)) for key, item in value.items()):
            kept |= {key: REDACTED for key in kept if key.casefold() == "value"}
        return kept
    return _text(value) if isinstance(value, str) else value


def _named(key: str, item: Json) -> Json:
    if is_secret(key) and isinstance(item, str | int | float) and not isinstance(item, bool):
        return REDACTED
    return _without_secrets(item)


def _text(value: str) -> str:
    if is_secret(value):
        try:
            return orjson.dumps(_without_secrets(orjson.loads(value))).decode()  # JSON in a text
        except ValueError:
            return REDACTED if told_in(value) else value
    if "://" in value:
        value = _UPLOAD.sub(rf"\1/{REDACTED}", value)
        return _SIGNED_URL.sub(lambda match: REDACTED + "@" if match[0].endswith("@") else "?" + REDACTED, value)
    return value
