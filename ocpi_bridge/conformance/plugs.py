"""What py_ocpi's handlers are given in place of its dependencies: our crud and adapter, and nothing that acts by itself."""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Protocol

from ocpi_bridge.conformance.envelope import Rendered
from ocpi_bridge.conformance.values import plain

Page = tuple[Sequence[Any], int, bool]  # objects, total that match and this caller may see, is this the last page


class Crud(Protocol):
    """py_ocpi's verbs. `version` and the parts of the address come as keywords; who calls is in `crud.caller`.

    What `create` and `update` return may say with an attribute `created` which of the two it was (TK-03). The objects of a
    `list` may bring their bytes as its `json_bytes`, in the caller's version and with commas between them.
    """

    async def get(self, module: Any, role: Any, id: Any, /, **options: Any) -> Any: ...
    async def list(self, module: Any, role: Any, filters: dict[str, Any], /, **options: Any) -> Page: ...
    async def create(self, module: Any, role: Any, data: dict[str, Any], /, **options: Any) -> Any: ...
    async def update(self, module: Any, role: Any, data: dict[str, Any], id: Any, /, **options: Any) -> Any: ...
    async def delete(self, module: Any, role: Any, id: Any, /, **options: Any) -> Any: ...
    async def do(self, module: Any, role: Any, action: Any, data: dict[str, Any], /, **options: Any) -> Any: ...


class CrudPlug:
    """Our crud for the length of one request: hands values on in builtin types, and remembers what py_ocpi forgets."""

    __slots__ = ("_crud", "created", "is_last", "total")

    def __init__(self, crud: Crud) -> None:
        self._crud = crud
        self.created = False
        self.total = 0
        self.is_last = True

    async def get(self, module: Any, role: Any, id: Any, **options: Any) -> Any:
        return await self._crud.get(module, role, plain(id), **unwrapped(options))

    async def list(self, module: Any, role: Any, filters: dict[str, Any], **options: Any) -> Page:
        objects, self.total, self.is_last = await self._crud.list(module, role, filters, **unwrapped(options))
        joined: bytes | None = getattr(objects, "json_bytes", None)
        if joined is not None:  # the bytes of them all stand for them: to what leaves it is the same
            return [joined] if joined else [], self.total, self.is_last
        return objects, self.total, self.is_last

    async def create(self, module: Any, role: Any, data: dict[str, Any], **options: Any) -> Any:
        stored = await self._crud.create(module, role, plain(data), **unwrapped(options))
        self.created = getattr(stored, "created", True)
        return stored

    async def update(self, module: Any, role: Any, data: dict[str, Any], id: Any, **options: Any) -> Any:
        stored = await self._crud.update(module, role, plain(data), plain(id), **unwrapped(options))
        self.created = getattr(stored, "created", False)
        return stored

    async def do(self, module: Any, role: Any, action: Any, data: dict[str, Any], **options: Any) -> Any:
        return await self._crud.do(module, role, action, plain(data), **unwrapped(options))


def unwrapped(options: dict[str, Any]) -> dict[str, Any]:
    """Enums stay the enums of py_ocpi's contract; its string classes become str."""
    return {name: value if isinstance(value, Enum) else plain(value) for name, value in options.items()}


class AdapterPlug:
    """Our adapter, always told the route's version, which some of py_ocpi's handlers name and some do not; its objects in the
    shape that they expect."""

    __slots__ = ("_adapter", "_version")

    def __init__(self, adapter: Any, version: Any) -> None:
        self._adapter = adapter
        self._version = version

    def location_adapter(self, data: Any, _version: Any = None) -> Rendered:
        if isinstance(data, bytes):
            return Rendered(data)
        return Rendered(self._adapter.location_adapter(data, self._version))

    def session_adapter(self, data: Any, _version: Any = None) -> Rendered:
        return Rendered(self._adapter.session_adapter(data, self._version))

    def cdr_adapter(self, data: Any, _version: Any = None) -> Rendered:
        return Rendered(self._adapter.cdr_adapter(data, self._version))

    def tariff_adapter(self, data: Any, _version: Any = None) -> Rendered:
        return Rendered(self._adapter.tariff_adapter(data, self._version))

    def token_adapter(self, data: Any, _version: Any = None) -> Rendered:
        return Rendered(self._adapter.token_adapter(data, self._version))

    def command_response_adapter(self, data: Any, _version: Any = None) -> Rendered:
        return Rendered(self._adapter.command_response_adapter(data, self._version))


class NoAdapter:
    """For answers without data: nothing is rendered."""

    def token_adapter(self, data: Any, _version: Any = None) -> Rendered:
        return Rendered({})


class NoBackgroundTasks:
    """py_ocpi's command result polls, then says FAILED, to any URL; results are sent by the remote control itself."""

    def add_task(self, task: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        pass
