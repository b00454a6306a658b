"""py_ocpi's endpoints stand on our application, and none of them sees more than we give it."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import orjson
from fastapi import BackgroundTasks, FastAPI, Query
from fastapi.params import Depends
from fastapi.routing import APIRoute
from py_ocpi.core.exceptions import NotFoundOCPIError
from py_ocpi.modules.tokens.v_2_2_1.enums import TokenType
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from crud.caller import Refusal, current_caller, current_request
from ocpi_bridge.conformance.edge import ENCODED_SLASH
from ocpi_bridge.conformance.envelope import ABSENT, MESSAGES, envelope
from ocpi_bridge.conformance.modules import ServedRoute
from ocpi_bridge.conformance.paging import page_filters, page_headers
from ocpi_bridge.conformance.plugs import AdapterPlug, CrudPlug, NoAdapter, NoBackgroundTasks
from ocpi_bridge.conformance.refusals import http_refusal
from ocpi_bridge.conformance.treatments import Call, Data, Surroundings
from ocpi_bridge.conformance.values import holds_too_many, is_crowded

BODY_CAP = 1 << 20
BODY_TIMEOUT_S = 30.0
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
GIVEN_TYPES = (Response, BackgroundTasks)

# What py_ocpi's handlers may be given besides the request's own values; another wish stops the start.
GIFTS = frozenset(
    {"crud", "adapter", "filters", "response", "background_tasks", "versions", "endpoints", "server_cred"}
)

# py_ocpi's name for a parameter that the specification calls differently (D36).
RENAMED: dict[str, Any] = {"token_type": Query(default=TokenType.rfid, alias="type")}

# Bodies that py_ocpi reads as the specification does not have them; the treatment reads them itself.
RETYPED: dict[str, Any] = {"charging_profile": dict[str, Any], "client_hub_info": dict[str, Any]}


def register(app: FastAPI, route: ServedRoute, given: Surroundings) -> None:
    path = route.prefix + (route.treatment.path or route.route.path.rstrip("/"))
    app.router.add_api_route(
        path,
        served(route, url=given.base_url + path, given=given),
        methods=sorted(route.route.methods),
        response_model=None,
        route_class_override=ConformingRoute,
    )


def served(route: ServedRoute, *, url: str, given: Surroundings) -> Callable[..., Any]:
    """An endpoint that takes from the request what py_ocpi's handler takes from it; its dependencies are ours to give."""
    handler, treatment = route.route.endpoint, route.treatment
    signature = inspect.signature(handler)
    taken = [renamed(parameter) for parameter in signature.parameters.values() if not is_given(parameter)]
    wanted = [name for name, parameter in signature.parameters.items() if is_given(parameter)]
    if not GIFTS.issuperset(wanted):
        raise KeyError(f"{handler.__name__} wants {sorted(set(wanted) - GIFTS)}")
    adapter = AdapterPlug(given.adapter, route.version)

    async def handled(call: Call, filters: dict[str, Any] | None) -> Response:
        gifts = {
            "crud": call.crud,
            "adapter": NoAdapter() if treatment.data is Data.NONE else adapter,
            "filters": filters,
            "response": Response(),
            "background_tasks": NoBackgroundTasks(),
            "versions": given.versions,
            "endpoints": given.endpoints,
            "server_cred": "",
        }
        result = await handler(**call.values, **{name: gifts[name] for name in wanted})
        return envelope(
            given.clock(),
            data=shaped(result.data, treatment.data),
            status_code=result.status_code,
            http_status=201 if call.crud.created else 200,
            headers=page_headers(url, filters, total=call.crud.total, is_last=call.crud.is_last) if filters else None,
        )

    async def endpoint(**values: Any) -> Response:
        call = Call(
            caller=current_caller.get(),
            version=route.version,
            values=values,
            crud=CrudPlug(given.crud),
            adapter=adapter,
            credentials=given.credentials,
        )
        if treatment.check is not None:
            treatment.check(call)
        filters = None
        if "filters" in wanted:
            query, needed = values["request"].query_params, treatment.needs_date_from
            filters = page_filters(query, page_limit=given.page_limit, needs_date_from=needed)
        try:
            if treatment.instead is not None:
                return envelope(given.clock(), data=await treatment.instead(call))
            return await handled(call, filters)
        except NotFoundOCPIError as error:
            raise Refusal(404, treatment.not_found, MESSAGES[treatment.not_found]) from error

    endpoint.__name__ = handler.__name__
    endpoint.__signature__ = signature.replace(parameters=taken)  # type: ignore[attr-defined]
    return endpoint


def is_given(parameter: inspect.Parameter) -> bool:
    """What is left to FastAPI is what comes from the request; anything else it would make by itself."""
    return isinstance(parameter.default, Depends) or parameter.annotation in GIVEN_TYPES


def renamed(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(
        default=RENAMED.get(parameter.name, parameter.default),
        annotation=RETYPED.get(parameter.name, parameter.annotation),
    )


def shaped(data: Any, shape: Data) -> Any:
    """py_ocpi puts single objects into a list (D9)."""
    if shape is Data.NONE:
        return ABSENT
    return data[0] if shape is Data.ONE and isinstance(data, list) else data


class ConformingRoute(APIRoute):
    """Bodies are read here: after the route is found and the caller known, with an end in size and time."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        if match is Match.FULL:
            parameters = found["path_params"]
            for name, value in parameters.items():
                if ENCODED_SLASH in value:
                    parameters[name] = value.replace(ENCODED_SLASH, "/")
        return match, found

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in self.methods:
            here = {method for route in scope["app"].routes if route.path == self.path for method in route.methods}
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(here))})
        await super().handle(scope, receive, send)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def read_then_handle(request: Request) -> Response:
            if request.method in WITH_BODY:
                body = await read_json(request)
                current_request.set(replace(current_request.get(), body=body))
                request = ReadRequest(request, body)
            return await handle(request)

        return read_then_handle


class ReadRequest(Request):
    """A request whose JSON is already read."""

    def __init__(self, request: Request, body: Any) -> None:
        super().__init__(request.scope, request.receive)
        self.parsed = body

    async def body(self) -> bytes:
        return b"read"  # FastAPI only asks whether there is one

    async def json(self) -> Any:
        return self.parsed


async def read_json(request: Request) -> Any:
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > BODY_CAP:
        raise http_refusal(413)
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                content += chunk
                if len(content) > BODY_CAP:
                    raise http_refusal(413)
    except TimeoutError:
        raise http_refusal(408) from None
    if holds_too_many(content):
        raise http_refusal(413)
    try:
        body = orjson.loads(bytes(content))
    except orjson.JSONDecodeError:
        raise http_refusal(400) from None
    if is_crowded(body):
        raise http_refusal(413)
    return body
