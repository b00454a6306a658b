"""Whatever goes wrong leaves as an envelope with the codes of status_codes, and as one log line."""

import itertools
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import structlog
from fastapi.exceptions import RequestValidationError
from py_ocpi.core.exceptions import NotFoundOCPIError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from crud.caller import Refusal, current_caller, current_request
from ocpi_bridge.conformance.envelope import ABSENT, envelope

log = structlog.get_logger(__name__)

# HTTP errors are for what never reached OCPI: transport, identity, a resource that does not exist (TR-07, TR-18 to TR-22).
HTTP_REFUSALS = {
    400: (2001, "The body is not JSON"),
    401: (2000, "The credentials token is missing, unknown or not allowed here"),
    404: (2000, "There is nothing at this address"),
    405: (2000, "This method is not allowed here"),
    408: (2000, "The body took too long"),
    413: (2000, "The body is too large"),
    429: (2000, "Too many requests"),
}
HTTP_HEADERS = {401: {"WWW-Authenticate": "Token"}}
WRITES = frozenset({"PUT", "PATCH"})
MOST_PROBLEMS = 20  # told of one body


def http_refusal(http_status: int) -> Refusal:
    status_code, message = HTTP_REFUSALS[http_status]
    return Refusal(http_status, status_code, message)


def refusal_of(error: Exception, *, method: str = "GET", identified: bool = True) -> Refusal:
    """What to answer. Anything unknown is our own failure, no HTTP error once we know that the caller is one (TR-19)."""
    match error:
        case Refusal():
            return error
        case NotFoundOCPIError():
            return Refusal(404, 2000, "There is no such object")
        case RequestValidationError():
            in_path = any(problem["loc"][0] == "path" for problem in error.errors())
            # No object has such an id, so asking for it finds nothing; writing it is a parameter that is wrong (LO-02).
            return http_refusal(404) if in_path and method not in WRITES else invalid(error.errors())
        case HTTPException(status_code=status) if status in HTTP_REFUSALS:
            return http_refusal(status)
        case _:
            return Refusal(200 if identified else 500, 3000, "The server failed; the request was not carried out")


def invalid(problems: Iterable[Mapping[str, Any]]) -> Refusal:
    """2001, and in `data` each field with what is wrong about it; never the value, which may be a secret (TR-29)."""
    first = itertools.islice(problems, MOST_PROBLEMS)
    errors = [{"field": field_name(problem["loc"])[:255], "problem": str(problem["msg"])[:255]} for problem in first]
    named = ", ".join(error["field"] for error in errors)
    return Refusal(200, 2001, f"Invalid or missing parameters: {named}"[:255], data={"errors": errors})


def invalid_object(error: ValidationError) -> Refusal:
    return invalid(error.errors())


def wrong_field(field: str, problem: str) -> Refusal:
    return invalid([{"loc": (field,), "msg": problem}])


def field_name(location: Iterable[str | int]) -> str:
    parts = [str(part) for part in location]
    return ".".join(parts[1:] if parts[0] in ("body", "query", "path") and len(parts) > 1 else parts)


def refused(error: Exception, now: datetime) -> Response:
    """The answer to `error`, logged. The path stays out of the log: it may hold a token's uid."""
    request, caller = current_request.get(None), current_caller.get(None)
    refusal = refusal_of(error, method=request.method if request else "GET", identified=caller is not None)
    failed = refusal.status_code == 3000 and not isinstance(error, Refusal)
    (log.error if failed else log.info)(
        "ocpi_request_refused",
        partner=caller.name if caller else None,
        method=request.method if request else None,
        request_id=request.request_id if request else None,
        http_status=refusal.http_status,
        status_code=refusal.status_code,
        reason=refusal.message,
        exc_info=error if failed else None,
    )
    headers = {**HTTP_HEADERS.get(refusal.http_status, {}), **(getattr(error, "headers", None) or {})}
    return envelope(
        now,
        data=ABSENT if refusal.data is None else refusal.data,
        status_code=refusal.status_code,
        message=refusal.message,
        http_status=refusal.http_status,
        headers=headers,
    )
