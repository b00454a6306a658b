"""Which station a quirk is about: globs for vendor and model, a glob or a range of versions for the firmware."""

import operator
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Final

ANY: Final = "*"

_COMPARE: Final[Mapping[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_BOUND = re.compile(r"(<=|>=|<|>|=)(\d+(?:\.\d+)*)", re.ASCII)
_DOTTED = re.compile(r"\d+(?:\.\d+)+", re.ASCII)
_NUMBER = re.compile(r"\d+", re.ASCII)


def is_range(pattern: str) -> bool:
    return pattern.lstrip()[:1] in ("<", ">", "=")


def unreadable_range(pattern: str) -> bool:
    """It begins like `>=1.2 <2`, and is not written like it."""
    return is_range(pattern) and not all(_BOUND.fullmatch(bound) for bound in pattern.split())


def matches(pattern: str, text: str) -> bool:
    """In any case, and as a whole: `Keba*`, `NG910-?????`."""
    return pattern == ANY or fnmatchcase(text.strip().casefold(), pattern.casefold())


def matches_firmware(pattern: str, text: str) -> bool:
    """`*`, `4.2.*`, or bounds that all hold: `<2.4`, `>=1.2 <2`. A firmware that was not told, or has no number in it, is
    in no range."""
    if not is_range(pattern):
        return matches(pattern, text)
    version = _version(text)
    return version is not None and all(
        _COMPARE[bound[1]](version, _parts(bound[2])) for bound in _BOUND.finditer(pattern)
    )


def _version(text: str) -> tuple[int, ...] | None:
    """The first number with dots, as 1.8.21 in TAC3Z9119006710273::V1.8.21; else the first number."""
    found = _DOTTED.search(text) or _NUMBER.search(text)
    return None if found is None or len(found[0]) > 100 else _parts(found[0])


def _parts(digits: str) -> tuple[int, ...]:
    """2.4 and 2.4.0 are the same version."""
    parts = [int(part) for part in digits.split(".")]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)
