"""What is true of every answer: its envelope, the ids it returns, and how it refuses."""

from collections.abc import Iterator
from typing import Any

from ocpi_bridge.checker.asking import Answer, Party
from ocpi_bridge.checker.fields import DATE_TIME
from ocpi_bridge.checker.report import short

Said = tuple[str, str]  # id, what was seen
ROUTING = ("to-country-code", "to-party-id", "from-country-code", "from-party-id")


def envelope(answer: Answer) -> Iterator[Said]:
    """TR-13, whatever the HTTP status."""
    if answer.status is None:
        return
    if answer.envelope is None:
        yield "TR-13", f"HTTP {answer.status} with a body that is no JSON object"
        return
    code, timestamp = answer.envelope.get("status_code"), answer.envelope.get("timestamp")
    if answer.code is None or not 1000 <= answer.code <= 9999:
        yield "TR-13", "no status_code" if "status_code" not in answer.envelope else f"status_code {short(code)}"
    if "timestamp" not in answer.envelope:
        yield "TR-13", "no timestamp"
    elif not isinstance(timestamp, str) or not DATE_TIME.fullmatch(timestamp):
        yield "TY-01", f"timestamp {short(timestamp)}"
    if answer.ok and answer.code != 1000:
        yield "TR-25", f"status_code {answer.code}"


def ids(answer: Answer, version: str) -> Iterator[Said]:
    if answer.status is None or version == "2.1.1":
        return
    for id, name, sent in zip(("ID-01", "ID-02"), ("X-Request-ID", "X-Correlation-ID"), answer.ids, strict=True):
        returned = answer.headers.get(name)
        if returned != sent:
            yield id, "not returned" if returned is None else "another one is returned"


def unrouted(answer: Answer) -> Iterator[Said]:
    if any(f"ocpi-{name}" in answer.headers for name in ROUTING):
        yield "RT-02", "routing headers in the answer"


def routed(answer: Answer, asking: Party, asked: Party) -> Iterator[Said]:
    """After a request from `asking` to `asked`."""
    told = [answer.headers.get(f"ocpi-{name}") for name in ROUTING]
    if all(value is None for value in told):
        yield "RT-15", "none in the answer"
    elif [str(value).casefold() for value in told] != [value.casefold() for value in (*asking, *asked)]:
        yield "RT-03", "to {}-{}, from {}-{}".format(*told)


def refusal(answer: Answer, *, codes: range = range(2000, 3000)) -> Iterator[Said]:
    if answer.code is not None and answer.code not in codes:
        yield "TR-26", str(answer)


def cardinality(answer: Answer, kind: type[Any]) -> Iterator[Said]:
    """TR-15: `kind` is list or dict."""
    if answer.ok and not isinstance(answer.data, kind):
        missing = "data" not in (answer.envelope or {})
        yield "TR-15", "no data" if missing else f"data is {short(answer.data)}"
