"""What a message and a meter sample cost on PostgreSQL by INSERT, by unnest and by COPY, in batches of each size."""

import argparse
import random
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table as Printed
from sqlalchemy import Connection, Table

from csms import schema
from csms.bulk import copy, types_of
from csms.database import Database
from csms.message_store import id_at
from csms.models import Base, LogBase
from csms.partitions import make_ahead

SIZES = {1: 200, 10: 100, 100: 40, 1000: 8}  # rows in a batch: batches of each way
TABLES = {"messages": LogBase.metadata.tables["messages"], "meter_samples": Base.metadata.tables["meter_samples"]}

Row = Sequence[Any]


def rows_of(name: str) -> Iterator[Row]:
    now, number = datetime.now(UTC), id_at(datetime.now(UTC))
    while True:
        number += 1
        station, id_ = f"CP{number % 1000:05d}", str(uuid.uuid4())
        if name == "messages":
            frame = f'[2,"{id_}","MeterValues",{{"meterValue":[{"x" * 300}]}}]'
            yield number, now, station, "1.6", "in", "call", id_, "MeterValues", "ok", None, frame
        else:
            yield id_, now, station, 1, f"t{number % 1000}", now, id_[:24], number, False, f"[{'x' * 900}]", None


def insert(connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
    places = ", ".join("%s" for _ in columns)
    connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({places})", list(map(tuple, rows))
    )


def unnest(connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
    arrays = ", ".join(f"%s::{type_}[]" for type_ in types_of(table, columns, connection.dialect))
    statement = f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM unnest({arrays})"
    connection.exec_driver_sql(statement, tuple(list(column) for column in zip(*rows, strict=True)))


WAYS: dict[str, Callable[[Connection, Table, tuple[str, ...], Sequence[Row]], None]] = {
    "INSERT": insert,
    "unnest": unnest,
    "COPY": copy,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bulk_writes", description=__doc__)
    parser.add_argument("database_url", help="an empty PostgreSQL database")
    options = parser.parse_args()
    schema.migrate(options.database_url)
    database = Database(options.database_url)
    make_ahead(database, datetime.now(UTC))
    printed = Printed("table", "rows in a batch", *(f"{way}: us a row, of it our CPU" for way in WAYS))
    for name, table in TABLES.items():
        source = rows_of(name)
        for size, batches in SIZES.items():
            spent: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
            for _ in range(batches):
                for way in random.sample(list(WAYS), len(WAYS)):
                    rows = [next(source) for _ in range(size)]
                    began, began_cpu = time.perf_counter(), time.process_time()
                    with database.write() as connection:
                        WAYS[way](connection, table, tuple(table.columns.keys()), rows)
                    spent[way].append((time.perf_counter() - began, time.process_time() - began_cpu))
            medians = [[statistics.median(one) / size * 1e6 for one in zip(*spent[way], strict=True)] for way in WAYS]
            printed.add_row(name, str(size), *(f"{whole:.1f}, {cpu:.1f}" for whole, cpu in medians))
    database.dispose()
    Console(width=140).print(printed)


if __name__ == "__main__":
    main()
