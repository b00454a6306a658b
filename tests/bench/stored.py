"""What is stored of a message: bytes of a row with all its indexes, as the database counts its pages."""

from collections.abc import Mapping

from sqlalchemy import Engine, text

from csms.database import Database

TABLES = {"frame": "messages", "sample": "meter_samples", "fact": "journal"}

_SQLITE = text(  # a table and what is an index of it
    "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_schema WHERE tbl_name = :name)"
)
_POSTGRESQL = text(  # a table in one piece, or its months
    "SELECT pg_total_relation_size(CAST(:name AS regclass))"
    " + coalesce((SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(CAST(:name AS regclass)) WHERE isleaf), 0)"
)


def bytes_a_row(database_url: str) -> Mapping[str, float]:
    """By what it is of; of a database in which many are, so that half-filled pages count little."""
    database = Database(database_url)
    try:
        return {
            what: _bytes(database.log_engine if what == "frame" else database.engine, TABLES[what]) for what in TABLES
        }
    finally:
        database.dispose()


def _bytes(engine: Engine, table: str) -> float:
    with engine.connect() as connection:
        rows = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
        size = connection.execute(_SQLITE if engine.name == "sqlite" else _POSTGRESQL, {"name": table}).scalar_one()
    return float(size) / float(rows)
