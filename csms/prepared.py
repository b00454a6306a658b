"""Statements that every batch asks or says again, put together once and handed to the driver as they are: on the way through
SQLAlchemy they would cost as much as in the database."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import orjson
from sqlalchemy import Connection, Dialect, Float, Select, bindparam
from sqlalchemy.engine.interfaces import Compiled
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine, UserDefinedType

Process = Callable[[Any], Any]


class _Keys(UserDefinedType[Sequence[Any]]):
    """A list of texts or of integers as one parameter."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Process:
        return _json_list if dialect.name == "sqlite" else array


def _json_list(keys: Sequence[Any]) -> str:
    return orjson.dumps(list(keys)).decode()


def array(values: Sequence[Any]) -> Any:
    """For PostgreSQL: as the text of an array, where JSON writes it alike, in a fifth of the time that the driver takes for a
    list. Not for floats, of which JSON knows no NaN."""
    try:
        text = orjson.dumps(list(values)).decode()
    except TypeError:
        return list(values)
    return list(values) if "\\" in text else f"{{{text[1:-1]}}}"


class _Among(FunctionElement[Any]):
    """Of no type: SQLAlchemy would write `= 1` after a boolean on SQLite, which then finds no index for it."""

    inherit_cache = True


@compiles(_Among)
def _any(element: _Among, compiler: Any, **how: Any) -> str:
    column, keys = element.clauses
    return f"{compiler.process(column, **how)} = ANY({compiler.process(keys, **how)})"


@compiles(_Among, "sqlite")
def _in(element: _Among, compiler: Any, **how: Any) -> str:
    column, keys = element.clauses
    return f"{compiler.process(column, **how)} IN (SELECT value FROM json_each({compiler.process(keys, **how)}))"  # noqa: S608


def among(column: Any, name: str) -> ColumnElement[bool]:
    """Whether `column` is one of the texts or integers of the parameter `name`, however many: the statement stays the same."""
    return cast(ColumnElement[bool], _Among(column, bindparam(name, type_=_Keys())))


class Look:
    """A SELECT whose named parameters are all that changes."""

    def __init__(self, statement: Select[Any]) -> None:
        self._statement = statement
        self._made: dict[str, tuple[str, Callable[[Mapping[str, Any]], Any], Sequence[tuple[int, Process]]]] = {}

    def rows(self, connection: Connection, **given: Any) -> Sequence[Any]:
        """All of them, each with the columns in the order in which the statement names them."""
        dialect = connection.dialect
        made = self._made.get(dialect.name)
        if made is None:
            made = self._made[dialect.name] = self._make(dialect)
        text, bind, processes = made
        parameters = bind(given)
        # Who listens to all that is asked hears this too.
        for told in cast(Any, connection).dispatch.before_cursor_execute:
            told(connection, None, text, parameters, None, False)
        with driver(connection, text) as raw:
            found = raw.execute(text, parameters).fetchall()
        if not found or not processes:
            return cast(Sequence[Any], found)
        columns: list[Any] = list(zip(*found, strict=True))
        for index, process in processes:
            columns[index] = map(process, columns[index])
        return list(zip(*columns, strict=True))

    def _make(self, dialect: Dialect) -> tuple[str, Callable[[Mapping[str, Any]], Any], Sequence[tuple[int, Process]]]:
        compiled = cast(Any, self._statement.compile(dialect=dialect))
        results = (_result(column.type, dialect) for column in self._statement.selected_columns)
        return (
            compiled.string,
            _binding(compiled, dialect),
            [(index, process) for index, process in enumerate(results) if process is not None],
        )


def _result(type_: TypeEngine[Any], dialect: Dialect) -> Process | None:
    if isinstance(type_, Float):
        return None  # both drivers give a float
    return type_.dialect_impl(dialect).result_processor(dialect, None)


def _binding(compiled: Compiled, dialect: Dialect) -> Callable[[Mapping[str, Any]], Any]:
    types = {name: parameter.type for parameter, name in cast(Any, compiled).bind_names.items()}
    names: Sequence[str] = cast(Any, compiled).positiontup or list(types)
    processes = [types[name].dialect_impl(dialect).bind_processor(dialect) or _same for name in names]
    pairs = list(zip(names, processes, strict=True))
    constants: dict[str, Any] = {name: value for name, value in cast(Any, compiled).params.items() if value is not None}
    if cast(Any, compiled).positiontup:
        return lambda given: [process({**constants, **given}[name]) for name, process in pairs]
    return lambda given: {name: process({**constants, **given}[name]) for name, process in pairs}


def _same(value: Any) -> Any:
    return value


@contextmanager
def driver(connection: Connection, statement: str) -> Iterator[Any]:
    """The driver's own connection, in the transaction of ours. Its errors are those of SQLAlchemy, as of any statement."""
    dialect = connection.dialect
    failure = cast(Any, dialect.dbapi).Error
    try:
        yield connection.connection.driver_connection
    except failure as error:
        raise DBAPIError.instance(
            statement, None, cast(Exception, error), failure, hide_parameters=True, dialect=dialect
        ) from error
