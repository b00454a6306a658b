"""Vendors' deviations as data: each with whose it is, why we think so, a repro that is run as a test, and its fix (Q06)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import yaml

from csms.gateway.quirks.fixes import FIXES, HANDLED_BY_CORE, SETTINGS
from csms.gateway.quirks.matching import ANY, matches, matches_firmware, unreadable_range

KINDS_AT_MOST = 1_000  # of stations, for which it is kept what is known of them

_TEXT = {"type": "string", "minLength": 1}
_LINE = {"type": "string", "pattern": r"^[^\n]+$"}
_ENTRY: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id", "vendor", "model", "firmware", "why", "source", "repro", "expect", "fix"],
    "properties": {
        "id": {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$"},
        "vendor": _LINE,
        "model": _LINE,
        "firmware": _LINE,
        "why": _TEXT,
        "source": _LINE,
        "repro": {"type": "array", "items": _LINE, "minItems": 1, "maxItems": 12},
        "expect": {"type": "object", "minProperties": 1},
        "fix": _LINE,
        "handled_by": _LINE,
        "settings": {
            "type": "object",
            "additionalProperties": False,
            "properties": dict.fromkeys(sorted(SETTINGS), _LINE),
        },
    },
}


class BadQuirks(Exception):
    """`problems` holds a line for each mistake, as `meters.yaml: openevse-kwh: fix: there is no fix ...`."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, kw_only=True)
class Quirk:
    """`repro` holds frames as they are on the wire, `expect` what must come of them; `handled_by` the function that reads
    every charger so, where `fix` has nothing to do. `settings` may name `throttle_key` (G10) or `leave_alone`, keys with
    spaces between them (Q03)."""

    id: str
    vendor: str
    model: str
    firmware: str
    why: str
    source: str
    repro: tuple[str, ...]
    expect: Mapping[str, Any]
    fix: str
    handled_by: str
    settings: Mapping[str, str]

    @property
    def of_anybody(self) -> bool:
        """Seen at more vendors than we could name, and read by the core whoever sends it."""
        return self.vendor == ANY

    def is_of(self, vendor: str, model: str, firmware: str) -> bool:
        return matches(self.vendor, vendor) and matches(self.model, model) and matches_firmware(self.firmware, firmware)


class Quirks:
    """All entries, in the order of their files."""

    def __init__(self, entries: Iterable[Quirk] = ()) -> None:
        self._entries = tuple(entries)
        self._named = tuple(entry for entry in self._entries if not entry.of_anybody)
        self._of: dict[tuple[str, str, str], tuple[Quirk, ...]] = {}

    def __iter__(self) -> Iterator[Quirk]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def of(self, vendor: str | None, model: str | None, firmware: str | None) -> tuple[Quirk, ...]:
        """Those of a station that says this of itself in its Boot; what is no vendor's in particular is left out."""
        if not vendor:
            return ()
        kind = vendor, model or "", firmware or ""
        found = self._of.get(kind)
        if found is None:
            if len(self._of) >= KINDS_AT_MOST:
                self._of.clear()
            found = self._of[kind] = tuple(entry for entry in self._named if entry.is_of(*kind))
        return found

    def throttle_key(self, vendor: str | None, model: str | None, firmware: str | None) -> str | None:
        """The configuration key that limits the whole station's current in A (G10), None when none is known."""
        keys = (entry.settings.get("throttle_key") for entry in self.of(vendor, model, firmware))
        return next((key for key in keys if key), None)

    def left_alone(self, vendor: str | None, model: str | None, firmware: str | None) -> frozenset[str]:
        """Configuration keys that this station ignores (Q03)."""
        named = (entry.settings.get("leave_alone", "") for entry in self.of(vendor, model, firmware))
        return frozenset(key for keys in named for key in keys.split())


def load(operators: Path | None = None) -> Quirks:
    """What is shipped, and the *.yaml files of the folder `operators` if it is there. Raises BadQuirks."""
    found = [*_files(resources.files(__package__))]
    if operators is not None and operators.is_dir():
        found += _files(operators)
    return read((file.name, file.read_text(encoding="utf-8")) for file in found)


def read(files: Iterable[tuple[str, str]]) -> Quirks:
    """`files`: name and text of each, a list of entries in YAML. Raises BadQuirks, which names every mistake."""
    problems: list[str] = []
    quirks: dict[str, Quirk] = {}
    for name, text in files:
        for place, entry in _entries(name, text, problems):
            wrong = [*_mistakes(entry)]
            if not wrong and entry["id"] in quirks:
                wrong = ["id: stands in another entry too"]
            problems += (f"{place}: {problem}" for problem in wrong)
            if not wrong:
                quirks[entry["id"]] = _quirk(entry)
    if problems:
        raise BadQuirks(problems)
    return Quirks(quirks.values())


# ---- reading --------------------------------------------------------------------------------------------------------


_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where it was compiled


class _Loader(_Safe):  # type: ignore[misc]
    """A key that stands twice is a mistake, not the last one's."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        twice = next((key for key, _ in node.value if names.count(key.value) > 1), None)
        if twice is not None:
            raise yaml.MarkedYAMLError(problem=f"{twice.value} stands here twice", problem_mark=twice.start_mark)
        read: dict[Any, Any] = super().construct_mapping(node, deep)
        return read


def _files(folder: Traversable) -> list[Traversable]:
    return sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)


def _entries(name: str, text: str, problems: list[str]) -> Iterator[tuple[str, Any]]:
    try:
        document = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        problems.append(f"{name}: no YAML: {' '.join(str(error).split())}")
        return
    if not isinstance(document, list):
        problems.append(f"{name}: must be a list of entries")
        return
    for number, entry in enumerate(document, 1):
        named = entry.get("id") if isinstance(entry, dict) else None
        yield f"{name}: {named or f'entry {number}'}", entry


@cache
def _schema() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(_ENTRY)


def _mistakes(entry: Any) -> Iterator[str]:
    errors = [*_schema().iter_errors(entry)]
    for error in errors:
        where = ".".join(map(str, error.instance_path))
        yield f"{where}: {error.message}" if where else error.message
    if errors:
        return
    fix = FIXES.get(entry["fix"])
    if fix is None:
        yield f"fix: there is no fix {entry['fix']}; there are {', '.join(FIXES)}"
        return
    if unreadable_range(entry["firmware"]):
        yield "firmware: a range is written as `<2.4` or `>=1.2 <2`"
    if fix.acts and entry["vendor"] == ANY:
        yield "vendor: a fix that changes what is said is for a named vendor"
    if set(entry.get("settings", {})) != fix.needs:
        yield f"settings: {entry['fix']} needs {', '.join(sorted(fix.needs)) or 'none'}"
    if ("handled_by" in entry) is not (entry["fix"] == HANDLED_BY_CORE):
        yield f"handled_by: belongs to {HANDLED_BY_CORE}, and must be there"


def _quirk(entry: Mapping[str, Any]) -> Quirk:
    rest = {"handled_by": "", "settings": {}, **entry}
    return Quirk(**{**rest, "why": " ".join(entry["why"].split()), "repro": tuple(entry["repro"])})
