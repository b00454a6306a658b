"""py_ocpi's verbs over our core, dispatched by module; who asks is in `crud.caller`."""

from collections.abc import Mapping
from typing import Any


class Crud:
    """`modules`: OCPI's module identifiers and what answers for each. py_ocpi's enums are equal to these words.

    A module without a verb is one that OCPI does not have either; it is a mistake in the routes and rises as such.
    """

    def __init__(self, modules: Mapping[str, Any]) -> None:
        self._modules = dict(modules)

    async def get(self, module: str, role: Any, id: Any, /, **options: Any) -> Any:
        return await self._modules[module].get(id, **options)

    async def list(
        self, module: str, role: Any, filters: dict[str, Any], /, **options: Any
    ) -> tuple[list[Any], int, bool]:
        page: tuple[list[Any], int, bool] = await self._modules[module].list(filters, **options)
        return page

    async def create(self, module: str, role: Any, data: Any, /, **options: Any) -> Any:
        return await self._modules[module].create(data, **options)

    async def update(self, module: str, role: Any, data: Any, id: Any, /, **options: Any) -> Any:
        return await self._modules[module].update(data, id, **options)

    async def delete(self, module: str, role: Any, id: Any, /, **options: Any) -> Any:
        return await self._modules[module].delete(id, **options)

    async def do(self, module: str, role: Any, action: Any, data: Any = None, /, **options: Any) -> Any:
        return await self._modules[module].do(action, data, **options)
