"""Many rows of one statement reach the driver in one call, each column bound at a stretch: most of a batch's work."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect, Insert, Update

NEW = "new_"  # SQLAlchemy keeps a column's own name for itself

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
        connection.exec_driver_sql(text, bind(rows))

    def _compile(self, dialect: Dialect) -> tuple[str, Bind]:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        if compiled.insert_prefetch:
            raise ValueError(f"{self._columns} leave out {compiled.insert_prefetch}")
        names = compiled.positiontup or list(compiled.binds)
        processors = [compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names]
        pick = itemgetter(*(name.removeprefix(NEW) for name in names))

        def by_position(rows: Sequence[Mapping[str, Any]]) -> Sequence[tuple[Any, ...]]:
            columns = zip(*map(pick, rows), strict=True)
            return list(
                zip(
                    *(
                        column if process is None else map(process, column)
                        for process, column in zip(processors, columns, strict=True)
                    ),
                    strict=True,
                )
            )

        def by_name(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
            return [dict(zip(names, row, strict=True)) for row in by_position(rows)]

        return compiled.string, by_position if compiled.positiontup else by_name
