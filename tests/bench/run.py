"""Parts one after the other: one that breaks is a row that says so, and the others are measured all the same."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from itertools import count
from time import monotonic
from typing import Any

from tests.bench import postgres
from tests.bench.table import Row

Part = Callable[[Any, str | None, str], Sequence[Row]]  # size, URL of an empty database (None: a file), its kind
Parts = Mapping[str, tuple[Part, Sequence[str]]]  # by name: what measures it, on which databases


@dataclass(frozen=True, kw_only=True)
class Done:
    """`failed`: it broke, and its only row says how."""

    name: str
    database: str
    took_s: float
    rows: Sequence[Row]
    failed: bool

    @property
    def told(self) -> dict[str, Any]:
        return {"name": f"{self.name} {self.database}".strip(), "took_s": round(self.took_s, 1), "failed": self.failed}


def each(
    parts: Parts,
    wanted: Sequence[str],
    size: Any,
    *,
    only: str | None = None,
    server: str | None = None,
    begins: Callable[[str, str], object] = lambda *_: None,
) -> Iterator[Done]:
    """`only`: this database; parts without one are measured in any case. `server`: of PostgreSQL, instead of one of our own.
    `begins` is told the name and the database before each."""
    numbers = count(1)
    with ExitStack() as stack:
        for name in wanted:
            part, databases = parts[name]
            for database in databases:
                if only is not None and database not in ("", only):
                    continue
                begins(name, database)
                began, failed = monotonic(), False
                try:
                    if database == "postgresql":
                        server = server or stack.enter_context(postgres.running())
                        fresh: Any = postgres.fresh(server, f"roambridge_bench_{os.getpid()}_{next(numbers)}")
                    else:
                        fresh = nullcontext()
                    with fresh as url:
                        rows = part(size, url, database)
                except LookupError as missing:
                    failed = isinstance(missing, KeyError | IndexError)  # not installed is no failure
                    rows = [broken(name, missing, database) if failed else not_measured(name, missing, database)]
                except (Exception, SystemExit) as error:  # a service that does not start ends the process otherwise
                    failed, rows = True, [broken(name, error, database)]
                yield Done(name=name, database=database, took_s=monotonic() - began, rows=rows, failed=failed)


def not_measured(name: str, missing: BaseException, database: str) -> Row:
    return Row(what=name, reached=f"not measured: {missing}", database=database)


def broken(name: str, error: BaseException, database: str) -> Row:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    said = str(error).strip().splitlines()
    word = type(error).__name__
    return Row(what=name, reached=f"failed: {word}{f': {said[0][:200]}' if said else ''}", ratio=0.0, database=database)
