"""Which settings of a station hold a secret is told by their names, the same for the database, the log and whoever asks."""

import re
from typing import Final

import msgspec

from csms.commands import Answer, ConfigurationAnswer, ConfigurationSetting

WORDS: Final = ("authorizationkey", "password", "passwd", "secret", "privatekey", "apnpass", "credential")
_VALUE: Final = re.compile(r"[:=]\s*\S|(?=\S*\d)\S{8,}|\S{20,}")


def is_secret(key: str) -> bool:
    """Is the value of this key a secret, by its name?"""
    return _has_word(key.casefold())


def named_in(text: str) -> bool:
    """Whether a setting of such a name may stand in a frame, broken or not."""
    folded = text.casefold()
    near = "key" in folded or "pass" in folded or "secret" in folded or "credential" in folded  # most have none of them
    return "\\u00" in text or (near and _has_word(folded))  # an escaped letter would hide the name


def told_in(words: str) -> bool:
    """Whether free words may hold a secret: they name one, and have what could be its value."""
    return is_secret(words) and _VALUE.search(words) is not None


def _has_word(folded: str) -> bool:
    bare = folded.replace("_", "").replace("-", "")
    return any(word in bare for word in WORDS)


def without_secrets(answer: Answer) -> Answer:
    """The answer as it may be kept and shown."""
    if not isinstance(answer, ConfigurationAnswer) or not any(is_secret(setting.key) for setting in answer.settings):
        return answer
    kept = (
        ConfigurationSetting(key=setting.key, readonly=setting.readonly) if is_secret(setting.key) else setting
        for setting in answer.settings
    )
    return msgspec.structs.replace(answer, settings=tuple(kept))
