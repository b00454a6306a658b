"""Who calls is known, and every answer has its message ids, before a byte of a body is read."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextvars import Token
from datetime import datetime
from urllib.parse import unquote

import structlog
from py_ocpi.core.enums import ModuleID
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters import v211
from crud.caller import Caller, Party, PresentedToken, current_caller, current_request
from ocpi_bridge.conformance import routing
from ocpi_bridge.conformance.allowance import Allowance
from ocpi_bridge.conformance.authentication import presented_tokens
from ocpi_bridge.conformance.refusals import http_refusal, refused

log = structlog.get_logger(__name__)

FindCaller = Callable[[tuple[PresentedToken, ...], bool], Awaitable[Caller | None]]

# A slash inside an id arrives as %2F and must not become a separator (TR-36); no decoded path can hold a surrogate.
ENCODED_SLASH = "\udc2f"
CREDENTIALS = ModuleID.credentials_and_registration.value
OPEN_TO_TOKEN_A = frozenset({"versions", CREDENTIALS})  # TR-08
ASKED_AGAIN = {"A": "POST", "C": "PUT"}  # by what a token is superseded: all that it is good for then
SECRETS_AND_TYPES = frozenset({b"authorization", b"content-type"})
LOOKUP_TIMEOUT_S = 10.0


class Edge:
    """ASGI middleware. Inside it the path has one form: without trailing or doubled slashes (TR-31), ids still whole."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        caller: FindCaller,
        our_parties: Collection[Party],
        clock: Callable[[], datetime],
        allowance: Allowance,
    ) -> None:
        self.app = app
        self.caller = caller
        self.our_parties = our_parties
        self.clock = clock
        self.allowance = allowance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        root, segments = path_segments(scope)
        module, version = module_of(segments), version_of(segments)
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": [*message["headers"], *answer_headers(module, version)]}
            await send(message)

        request_before = current_request.set(routing.received(scope["method"], headers))
        caller_before: Token[Caller] | None = None
        try:
            caller = await self.identify(headers, module, version)
            caller_before = current_caller.set(caller)
            if wait_s := self.allowance.wait_s(caller.partner_id):
                raise HTTPException(429, headers={"Retry-After": str(wait_s)})
            if module not in routing.CONFIGURATION and version != v211.VERSION:
                current_request.set(routing.addressed(current_request.get(), headers, self.our_parties, caller))
            await self.app(inner_scope(scope, root, segments), receive, send_with_headers)
        except ClientDisconnect:
            log.info("ocpi_client_left", module=module, request_id=current_request.get().request_id)
        except Exception as error:
            if started:
                raise
            await refused(error, self.clock())(scope, receive, send_with_headers)
        finally:
            if caller_before is not None:
                current_caller.reset(caller_before)
            current_request.reset(request_before)

    async def identify(self, headers: Headers, module: str, version: str | None) -> Caller:
        """TR-07, TR-08; a directory that does not answer is our failure, not the caller's. The modules of another version than
        the one it registered in are not open to a caller, but for the credentials by which it changes versions (CR-28)."""
        authorization = headers.getlist("authorization")
        raw_is_right = version == v211.VERSION or (version is None and module == "versions")
        presented = presented_tokens(authorization[0], raw_is_right=raw_is_right) if len(authorization) == 1 else ()
        if not presented:
            raise http_refusal(401)
        async with asyncio.timeout(LOOKUP_TIMEOUT_S):
            caller = await self.caller(presented, module not in OPEN_TO_TOKEN_A)
        if caller is None or (presented[0].is_raw and not caller.accept_raw_token):
            raise http_refusal(401)
        if (
            caller.superseded
            and module == CREDENTIALS
            and current_request.get().method != ASKED_AGAIN[caller.token_state]
        ):
            raise http_refusal(401)
        if module in OPEN_TO_TOKEN_A:
            return caller
        if (
            caller.superseded
            or caller.token_state == "A"
            or (version is not None and caller.version not in (None, version))
        ):
            raise http_refusal(401)
        return caller


def path_segments(scope: Scope) -> tuple[list[str], list[str]]:
    """The percent-decoded segments of the mount and of the path below it; a slash inside a segment is ENCODED_SLASH."""
    raw = scope.get("raw_path") or scope["path"].encode()
    root = [segment for segment in scope.get("root_path", "").split("/") if segment]
    segments = [unquote(segment.decode("latin-1")) for segment in raw.split(b"/") if segment]
    return root, [segment.replace("/", ENCODED_SLASH) for segment in segments[len(root) :]]


def module_of(segments: list[str]) -> str:
    """`versions` for both version endpoints, else the module's identifier; empty when the path has neither."""
    match segments:
        case ["versions"] | [_]:
            return "versions"
        case ["cpo", _, module, *_]:
            return module
        case _:
            return ""


def version_of(segments: list[str]) -> str | None:
    """None for the list of versions, and for what has no version."""
    match segments:
        case ["cpo", version, *_] | [version] if version != "versions":
            return version
        case _:
            return None


def inner_scope(scope: Scope, root: list[str], segments: list[str]) -> Scope:
    """The credentials token goes no further than this: py_ocpi reads "Null" as no token and crud asks `current_caller`.
    The content type is dropped because bodies are JSON whatever it says (TR-12)."""
    path = "".join(f"/{segment}" for segment in (*root, *segments))
    headers = [header for header in scope["headers"] if header[0] not in SECRETS_AND_TYPES]
    return {**scope, "path": path, "headers": [*headers, (b"authorization", b"Token Null")]}


def answer_headers(module: str, version: str | None) -> list[routing.Header]:
    """None in 2.1.1, which has neither message ids nor routing (V1-03)."""
    if version == v211.VERSION:
        return []
    request, caller = current_request.get(), current_caller.get(None)
    if caller is None or module in routing.CONFIGURATION:
        return routing.message_headers(request)
    return [*routing.message_headers(request), *routing.routing_headers(request, caller)]
