"""The OpenAPI document and the page that lists it, made of the table of routes and of nothing else."""

import html
import re
from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from ocpi_bridge.api.asked import FileBody, Name, Paging, Route
from ocpi_bridge.api.problems import MEDIA_TYPE, ProblemDetails
from ocpi_bridge.api.reading import FILE

TEMPLATE = "#/components/schemas/{name}"
ALWAYS = (400, 401, 403, 500, 503)  # what every route may answer


def document(routes: Sequence[Route], public_url: str) -> dict[str, Any]:
    """OpenAPI 3.1."""
    types: list[Any] = [ProblemDetails]
    for route in routes:
        types += [kind for kind in (route.query, _json_body(route), route.output) if kind is not None]
        types += route.path_types.values()
    types.append(Name)
    schemas, components = msgspec.json.schema_components(types, ref_template=TEMPLATE)
    of = {id(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(f"/api/v1{route.path}", {})[route.method.lower()] = _operation(route, of, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "roambridge operator API",
            "version": _version(),
            "description": "Keys are made with `roambridge apikey create`. A viewer sees numbers of cards masked. "
            "Times are UTC (RFC 3339), energy is in mWh, power in W, money is a decimal number as text.",
        },
        "servers": [{"url": public_url}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, of: dict[int, Any], components: dict[str, Any]) -> dict[str, Any]:
    tag = route.path.split("/")[1]
    operation: dict[str, Any] = {
        "operationId": operation_id(route),
        "tags": [tag],
        "summary": route.summary,
        "description": f"Needs the role {route.role.value}.",
        "parameters": [*_path_parameters(route, of), *_query_parameters(route, of, components)],
        "responses": _responses(route, of),
    }
    if isinstance(route.body, FileBody):
        file = {"schema": {"type": "string", "format": "binary", "minLength": 1}}
        operation["requestBody"] = {"required": True, "content": {FILE: file}}
    elif route.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": of[id(route.body)]}}}
    return operation


def _json_body(route: Route) -> Any:
    return None if isinstance(route.body, FileBody) else route.body


def operation_id(route: Route) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", route.path.lower()).strip("_")
    return f"{route.method.lower()}_{words}"


def _path_parameters(route: Route, of: dict[int, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": of[id(route.path_types.get(name, Name))]}
        for name in re.findall(r"{(\w+)}", route.path)
    ]


def _query_parameters(route: Route, of: dict[int, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = components[of[id(route.query)]["$ref"].rpartition("/")[2]]
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": _parameter(field)}
        for name, field in schema["properties"].items()
    ]


def _parameter(schema: dict[str, Any]) -> dict[str, Any]:
    """Absent is how a parameter is null."""
    if "anyOf" in schema:
        rest: list[dict[str, Any]] = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
        if len(rest) == 1:
            return rest[0]
        return {"anyOf": rest}
    return schema


def _responses(route: Route, of: dict[int, Any]) -> dict[str, Any]:
    problem = {MEDIA_TYPE: {"schema": of[id(ProblemDetails)]}}
    codes = {*ALWAYS, *route.problems}
    if "{" in route.path or (route.query is not None and issubclass(route.query, Paging)):
        codes.add(404)
    if route.method != "GET":
        codes.add(409)
    if route.body is not None:
        codes |= {413, 415, 422}
    if route.query is not None:
        codes.add(422)
    good: dict[str, Any] = {"description": HTTPStatus(route.status).phrase}
    if route.live:
        good["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    elif route.file:
        good["content"] = {FILE: {}}
    elif route.output is not None:
        good["content"] = {"application/json": {"schema": of[id(route.output)]}}
        if route.csv:
            good["content"]["text/csv"] = {"schema": {"type": "string"}}
    responses = {str(route.status): good}
    if route.repeats:
        responses["200"] = {**good, "description": "It was there already, and is now as told"}
    for code in sorted(codes):
        responses[str(code)] = {"description": HTTPStatus(code).phrase, "content": problem}
    return responses


def listing(routes: Sequence[Route]) -> str:
    """A page without scripts, images or anything from elsewhere."""
    rows = []
    for route in routes:
        parameters = (
            ", ".join(field.encode_name for field in msgspec.structs.fields(route.query)) if route.query else ""
        )
        cells = (route.method, f"/api/v1{route.path}", route.role.value, route.summary, parameters)
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>roambridge operator API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8884; vertical-align: top; }}
td:nth-child(1), td:nth-child(2), td:nth-child(5) {{ font-family: ui-monospace, monospace; font-size: 13px; }}
</style></head><body>
<h1>roambridge operator API</h1>
<p>The whole description, with every body and answer: <a href="/api/v1/openapi.json">/api/v1/openapi.json</a>
(OpenAPI 3.1). Requests carry <code>Authorization: Bearer KEY</code>; keys are made with
<code>roambridge apikey create NAME --role viewer|operator|admin</code>.</p>
<table><thead><tr><th>method</th><th>address</th><th>role</th><th>does</th><th>parameters</th></tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody></table></body></html>
"""


def _version() -> str:
    try:
        return version("roambridge")
    except PackageNotFoundError:
        return "0"
