"""Many rows go in at once: by COPY on PostgreSQL, which costs a fifth of INSERTs there, and by many_rows on SQLite."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import Connection, Dialect, Table, insert

from csms.database import bind_column
from csms.many_rows import ManyRows
from csms.prepared import driver

POSTGRES_NAMES: Final = {"FLOAT": "double precision"}  # where SQLAlchemy's name of a type is not PostgreSQL's own


class Copied(NamedTuple):
    """`processors`: what each column's type makes of a value, None where it leaves it as it is."""

    statement: str
    types: Sequence[str]
    processors: Sequence[Callable[[Any], Any] | None]


def insert_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """All of `rows`, which name the same columns in the same order. What they do not name is the column's default."""
    if not rows:
        return
    columns = tuple(rows[0])
    defaults = _defaults(table, columns)
    if connection.dialect.name == "sqlite":
        _insert(table, columns, tuple(defaults)).execute(
            connection, [defaults | row for row in rows] if defaults else rows
        )
        return
    names = (*columns, *defaults)
    processors = _copied(table, names, connection.dialect).processors
    values = [*zip(*(row.values() for row in rows), strict=True), *([value] * len(rows) for value in defaults.values())]
    copy(connection, table, names, zip(*map(bind_column, processors, values), strict=True))


def copy(connection: Connection, table: Table, columns: tuple[str, ...], rows: Iterable[Sequence[Any]]) -> None:
    """Rows as the driver takes them, on PostgreSQL. Errors are those of SQLAlchemy, as of any statement."""
    how = _copied(table, columns, connection.dialect)
    with driver(connection, how.statement) as raw, raw.cursor() as cursor, cursor.copy(how.statement) as stream:
        stream.set_types(how.types)
        for row in rows:
            stream.write_row(row)


@cache
def _insert(table: Table, columns: tuple[str, ...], defaults: tuple[str, ...]) -> ManyRows:
    return ManyRows(insert(table), (*columns, *defaults))


@cache
def _defaults(table: Table, given: tuple[str, ...]) -> dict[str, Any]:
    """What SQLAlchemy would fill in; the database does the rest."""
    missing = {name: cast(Any, column.default) for name, column in table.columns.items() if name not in given}
    return {name: default.arg for name, default in missing.items() if default is not None and default.is_scalar}


@cache
def _copied(table: Table, columns: tuple[str, ...], dialect: Dialect) -> Copied:
    return Copied(
        statement=f"COPY {table.name} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)",
        types=types_of(table, columns, dialect),
        processors=[table.columns[name].type.dialect_impl(dialect).bind_processor(dialect) for name in columns],
    )


def types_of(table: Table, columns: Sequence[str], dialect: Dialect) -> Sequence[str]:
    """As PostgreSQL calls them."""
    types = (table.columns[name].type.dialect_impl(dialect) for name in columns)
    spelt = [dialect.type_compiler_instance.process(type_) for type_ in types]
    return [POSTGRES_NAMES.get(name, name.lower()) for name in spelt]
