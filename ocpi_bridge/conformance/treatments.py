"""How one endpoint of py_ocpi is served: what is checked before it, what stands in its place, what its answer looks like."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Protocol

from crud.caller import Caller
from ocpi_bridge.conformance.plugs import AdapterPlug, Crud, CrudPlug


class CredentialsService(Protocol):
    """What a partner does with its credentials; all may raise `crud.caller.Refusal` (3001, 3002, 3003: CR-06).

    `body` is a valid Credentials object of 2.2.1 in builtin types, without nulls; `version` the one whose endpoint it came
    to. What is returned is our Credentials object for this partner, in 2.2.1 too.
    """

    async def get(self, caller: Caller, /) -> dict[str, Any]: ...
    async def register(self, caller: Caller, body: dict[str, Any], version: str, /) -> dict[str, Any]: ...
    async def update(self, caller: Caller, body: dict[str, Any], version: str, /) -> dict[str, Any]: ...
    async def delete(self, caller: Caller, /) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the routes are given. `base_url` is the public address of this application; `versions` and `endpoints` are what
    py_ocpi's version handlers answer with."""

    crud: Crud
    adapter: Any
    credentials: CredentialsService
    clock: Callable[[], datetime]
    base_url: str
    page_limit: int
    versions: Sequence[Mapping[str, str]]
    endpoints: Mapping[Any, Sequence[Mapping[str, str]]]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request: `values` are the parameters of py_ocpi's handler that come from it, validated. `version` is py_ocpi's word,
    equal to the version's number; None for the list of versions."""

    caller: Caller
    version: Any
    values: Mapping[str, Any]
    crud: CrudPlug
    adapter: AdapterPlug
    credentials: CredentialsService


class Data(Enum):
    """The shape of `data` in the answer (TR-15, TR-16)."""

    LIST = "list"
    ONE = "one"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """`check` raises Refusal; `instead` answers in place of py_ocpi's handler, with the data or ABSENT; `path` replaces
    py_ocpi's; `not_found` is the OCPI code that goes with HTTP 404; `needs_date_from` marks a list that requires it."""

    data: Data
    check: Callable[[Call], None] | None = None
    instead: Callable[[Call], Awaitable[Any]] | None = None
    path: str | None = None
    not_found: int = 2000
    needs_date_from: bool = False
