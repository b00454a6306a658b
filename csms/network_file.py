"""An operator's network file is read without YAML's surprises, and every mistake in it is named by its place, all at once."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import jsonschema_rs
import yaml

from csms.network_rules import RULES, Document, Party, TariffKey, inside, tariffs_agree, tariffs_exist
from csms.network_schema import NETWORK

Kind = jsonschema_rs.ValidationErrorKind

FEW = 8  # choices that an error lists in full


class BadNetwork(Exception):
    """The file cannot be used; `problems` holds a line for each mistake, as `locations[0].country: ...`."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


# ---- reading --------------------------------------------------------------------------------------------------------


def _resolvers(table: Mapping[str, tuple[str, Sequence[str]]]) -> dict[str, Any]:
    found: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, (pattern, firsts) in table.items():
        for first in firsts:
            found.setdefault(first, []).append((f"tag:yaml.org,2002:{tag}", re.compile(pattern)))
    return found


class _Loader(yaml.SafeLoader):
    """YAML as its version 1.2 has it, and decimals as text: in 1.1, which the library speaks, the country NO is false,
    08:30 is a number of minutes, and 0.10 loses a digit."""

    yaml_implicit_resolvers = _resolvers(
        {
            "bool": ("^(true|True|TRUE|false|False|FALSE)$", "tTfF"),
            "int": ("^-?(0|[1-9][0-9]{0,17})$", "-0123456789"),
            "null": ("^(~|null|Null|NULL|)$", ["~", "n", "N", ""]),
        }
    )

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} stands here twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read(text: str) -> Document:
    """The document in `text` (YAML, so also JSON). Raises BadNetwork."""
    try:
        document = yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "somewhere"
        raise BadNetwork([f"{where}: {error.problem}"]) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise BadNetwork([f"not YAML: {error}"]) from error
    if not isinstance(document, dict):
        raise BadNetwork(["the file must hold parties, tariffs, locations or tokens"])
    return document


# ---- judging --------------------------------------------------------------------------------------------------------


def problems(document: Document, *, default_party: Party, tariffs: Mapping[TariffKey, Any]) -> list[str]:
    """Every mistake in `document`. `tariffs`: the rows of those that are there already."""
    found: set[str] = set()
    for error in jsonschema_rs.Draft202012Validator(NETWORK).iter_errors(document):
        found.update(_worded(error))
    for rule in RULES:
        found.update(rule(document, default_party))
    found.update(tariffs_exist(document, default_party, tariffs))
    found.update(tariffs_agree(document, default_party, tariffs))
    return sorted(found, key=_by_place)


def _worded(error: jsonschema_rs.ValidationError) -> list[str]:
    kind = error.kind
    place = _place(error.instance_path)
    if isinstance(kind, Kind.Required):
        return [f"{inside(place, kind.property)}: is missing"]
    if isinstance(kind, Kind.AdditionalProperties):
        return [f"{inside(place, name)}: is not known here" for name in kind.unexpected]
    return [f"{place or 'the file'}: {_sentence(error)}"]


def _sentence(error: jsonschema_rs.ValidationError) -> str:
    kind = error.kind
    rule = _rule(error.schema_path)
    if "problem" in rule:
        return str(rule["problem"])
    if isinstance(kind, Kind.Enum):
        return _choice(error.instance, [str(option) for option in kind.options])
    if isinstance(kind, Kind.Type) and rule["type"] == "string" and isinstance(error.instance, int | float):
        return "must be text, write it in quotes"
    if isinstance(kind, Kind.MinLength):
        return "is empty"
    if isinstance(kind, Kind.MinItems):
        return "needs at least one entry"
    return error.message


def _choice(value: Any, options: list[str]) -> str:
    if len(options) <= FEW:
        return f"{value!r} is none of {', '.join(options)}"
    near = get_close_matches(str(value), options, n=3, cutoff=0.4) or options[:3]
    return f"{value!r} is none of the {len(options)} words allowed here, such as {', '.join(near)}"


def _rule(schema_path: Sequence[str | int]) -> Mapping[str, Any]:
    """The schema around the keyword that was broken."""
    rule: Any = NETWORK
    for step in schema_path[:-1]:
        rule = rule[step]
    return rule if isinstance(rule, Mapping) else {}


def _place(path: Iterable[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def _by_place(problem: str) -> list[tuple[int, int, str]]:
    """Sorts `locations[2]` before `locations[10]`."""
    place = problem.partition(": ")[0]
    return [(int(step), 1, "") if step.isdecimal() else (0, 0, step) for step in re.split(r"[\[\].]+", place)]
