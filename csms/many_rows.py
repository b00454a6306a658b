"""Many rows of one statement reach the driver in one call, each column bound at a stretch: most of a batch's work."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect, Float, Insert, LargeBinary, Table, Update, bindparam, update

from csms.database import bind_column
from csms.prepared import array, driver

NEW = "new_"  # SQLAlchemy keeps a column's own name for itself
THE_KEY = "the_key"

Bind = Callable[[Sequence[Mapping[str, Any]]], Any]


class ManyRows:
    """An INSERT or UPDATE whose parameters are columns by name (in an UPDATE with `NEW` before it). Every row has them all;
    a table that lets Python fill the columns which `columns` leaves out is refused (ValueError).

    A third of what SQLAlchemy's own way costs, which looks at each parameter of each row for what it could be.
    """

    def __init__(self, statement: Insert | Update, columns: Sequence[str]) -> None:
        self._statement = statement.inline() if isinstance(statement, Insert) else statement
        self._columns = None if isinstance(statement, Update) else list(columns)
        self._compiled: dict[str, tuple[str, Bind]] = {}

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = self._compile(dialect)
        text, bind = compiled
        with driver(connection, text) as raw:
            raw.cursor().executemany(text, bind(rows))

    def _compile(self, dialect: Dialect) -> tuple[str, Bind]:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        if compiled.insert_prefetch:
            raise ValueError(f"{self._columns} leave out {compiled.insert_prefetch}")
        names = compiled.positiontup or list(compiled.binds)
        processors = [compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names]
        pick = itemgetter(*(name.removeprefix(NEW) for name in names))

        def by_position(rows: Sequence[Mapping[str, Any]]) -> Sequence[tuple[Any, ...]]:
            columns = zip(*map(pick, rows), strict=True)
            return list(zip(*map(bind_column, processors, columns), strict=True))

        def by_name(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
            return [dict(zip(names, row, strict=True)) for row in by_position(rows)]

        return compiled.string, by_position if compiled.positiontup else by_name


class ManyChanges:
    """Rows of `table`, each found by its column `key`, get new values in `columns`. Each row of the parameters names `THE_KEY`
    and all the columns, and no two name the same key. One statement on PostgreSQL, where each costs its way there and back."""

    def __init__(self, table: Table, key: str, columns: Sequence[str]) -> None:
        new: dict[str, Any] = {column: bindparam(f"{NEW}{column}") for column in columns}
        self._one_by_one = ManyRows(update(table).where(table.c[key] == bindparam(THE_KEY)).values(new), columns)
        self._table = table
        self._key = key
        self._columns = {**{column: table.c[column].type for column in columns}, THE_KEY: table.c[key].type}
        self._together: tuple[str, Sequence[Callable[[Any], Any] | None]] | None = None

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        if connection.dialect.name != "postgresql":
            self._one_by_one.execute(connection, rows)
            return
        if self._together is None:
            self._together = self._compile(connection.dialect)
        statement, processors = self._together
        arrays = {
            name: self._array(name, list(bind_column(process, [row[name] for row in rows])))
            for name, process in zip(self._columns, processors, strict=True)
        }
        with driver(connection, statement) as raw:
            raw.execute(statement, arrays)

    def _array(self, name: str, values: list[Any]) -> Any:
        return values if isinstance(self._columns[name], Float | LargeBinary) else array(values)

    def _compile(self, dialect: Dialect) -> tuple[str, Sequence[Callable[[Any], Any] | None]]:
        types = {name: type_.dialect_impl(dialect) for name, type_ in self._columns.items()}
        spelt = {name: dialect.type_compiler_instance.process(type_) for name, type_ in types.items()}
        arrays = ", ".join(f"%({name})s::{type_}[]" for name, type_ in spelt.items())
        changes = ", ".join(f"{name} = new.{name}" for name in self._columns if name != THE_KEY)
        statement = (
            f"UPDATE {self._table.name} SET {changes} FROM unnest({arrays}) AS new({', '.join(self._columns)}) "  # noqa: S608
            f"WHERE {self._table.name}.{self._key} = new.{THE_KEY}"
        )
        return statement, [type_.bind_processor(dialect) for type_ in types.values()]
