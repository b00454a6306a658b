"""No card number is shown whole to whoever may only look: not in a field, not inside a frame as it crossed the wire."""

import re
from typing import Any, Final

import orjson

VALUES: Final = ("value", "desired", "actual")  # of what is called "key"
SHOWN = 2  # characters at each end
LEAST_MASKED = 2 * SHOWN + 2
NESTED_AT_MOST = 3  # texts that are JSON, in texts that are JSON

CARDS: Final = ("idtag", "idtoken")  # whose name has one of these in it is a card's number; folded
VENDORS_CARDS: Final = (*CARDS, "rfid", "uid", "card", "emaid", "evcoid", "contract")  # in what a vendor defines

# What may be a card's number where nothing says what it is. All patterns take a time that grows with the text and no more.
WORD = re.compile(r"[0-9A-Za-z]{8,}|[0-9A-Fa-f]{2}(?:[: -][0-9A-Fa-f]{2}){3,}")
# The name and the number in what is no JSON (any more): a frame may have been cut off, or never have been one.
NAMED = re.compile(r"""(id_?(?:tag|token)["'\\\s:=>]{1,40})([^"'<>]+)""", re.IGNORECASE)


def starred(id_token: str) -> str:
    """Its first two and last two characters, as long as it is."""
    if len(id_token) < LEAST_MASKED:
        return "*" * len(id_token)
    return f"{id_token[:SHOWN]}{'*' * (len(id_token) - 2 * SHOWN)}{id_token[-SHOWN:]}"


def without_cards(frame: str) -> str:
    """The frame with every card's number in it starred, and in what a vendor sends or nobody can read also all that looks
    like one. `frame` itself when it names none."""
    try:
        read = orjson.loads(frame)
        shown = _without(read, CARDS, NESTED_AT_MOST)
        if isinstance(shown, list) and len(shown) > 3 and shown[0] == 4:  # an error is told in free words
            shown[3:] = [_without(part, VENDORS_CARDS, NESTED_AT_MOST) for part in shown[3:]]
        if shown == read and not _is_card(frame, CARDS) and "\\u00" not in frame:
            return frame
        return orjson.dumps(shown).decode()
    except (ValueError, TypeError, RecursionError):  # no JSON, or nested without end
        return words_without_cards(frame)


def values_without_cards(value: Any) -> Any:
    """The same of what rows keep as JSON: commands, answers, details."""
    return _without(value, CARDS, NESTED_AT_MOST)


def words_without_cards(words: str) -> str:
    """The same of what a station says in its own words."""
    return _words(NAMED.sub(lambda found: found[1] + starred(found[2]), words))


def holds_card(setting: str) -> bool:
    """Whether a station's setting is a card's number, by its name: that of the card by which all may charge, say."""
    return _is_card(setting, CARDS)


def _without(value: Any, names: tuple[str, ...], nested: int) -> Any:
    if isinstance(value, list):
        return [_without(item, names, nested) for item in value]
    if isinstance(value, dict):
        kept = {key: _field(key, item, names, nested) for key, item in value.items()}
        if any(key.casefold() == "key" and _is_card(str(item), CARDS) for key, item in value.items()):
            kept |= {key: _card(item, names, nested) for key, item in kept.items() if key.casefold() in VALUES}
        return kept
    if isinstance(value, str):
        return _text(value, names, nested)
    return value


def _field(key: str, item: Any, names: tuple[str, ...], nested: int) -> Any:
    if _is_card(key, names):
        return _card(item, names, nested)
    return _without(item, VENDORS_CARDS if key == "data" else names, nested)


def _card(value: Any, names: tuple[str, ...], nested: int) -> Any:
    if isinstance(value, list):
        return [_card(item, names, nested) for item in value]
    if isinstance(value, dict):
        return _without(value, names, nested)
    return value if value is None or isinstance(value, bool) else starred(str(value))


def _text(value: str, names: tuple[str, ...], nested: int) -> str:
    if nested > 0 and value.lstrip()[:1] in ("{", "["):
        try:
            read = orjson.loads(value)
        except ValueError:
            return _words(NAMED.sub(lambda found: found[1] + starred(found[2]), value))
        shown = _without(read, names, nested - 1)
        return value if shown == read and not _is_card(value, names) else orjson.dumps(shown).decode()
    return _words(value) if names is VENDORS_CARDS or nested <= 0 else value


def _words(text: str) -> str:
    return WORD.sub(lambda found: starred(found[0]) if any(map(str.isdigit, found[0])) else found[0], text)


def _is_card(name: str, names: tuple[str, ...]) -> bool:
    bare = name.casefold().replace("_", "").replace("-", "")
    return any(word in bare for word in names)
