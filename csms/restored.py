"""A database that was restored from a dump into another PostgreSQL server counts its transactions anew; its journal follows.

Facts and cursors came with the transaction ids of the server they were written on. Where the new one has not got so far, no
reader would see what was written last, nor ever a new fact, and none would be behind by its own reckoning.
"""

from sqlalchemy import Connection, text

from csms.database import Database

# What is visible was written by a transaction before the snapshot's end: no running server shows itself what is not.
_FOREIGN = text(
    """
    SELECT pg_snapshot_xmax(pg_current_snapshot()) AS next
    WHERE EXISTS (SELECT FROM journal WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()))
       OR EXISTS (SELECT FROM journal_cursors WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()))
    """
)
# Facts in the order in which they are to be read: those that came along, by what they came with, then those written since.
_IN_ORDER = """
    SELECT id, (xid < CAST(:next AS xid8) AND id > :last) AS since, xid FROM journal
"""
_LAST = text(
    """
    SELECT greatest((SELECT max(id) FROM journal WHERE xid >= CAST(:next AS xid8)),
                    (SELECT max(position) FROM journal_cursors WHERE xid >= CAST(:next AS xid8)), 0)
    """
)
_CURSORS = """
    SELECT subscriber, (xid < CAST(:next AS xid8) AND position > :last) AS since, xid, position FROM journal_cursors
"""
_TO_READ = text(
    "CREATE TEMPORARY TABLE unread (id bigint PRIMARY KEY, since boolean, xid xid8, new_id bigint) ON COMMIT DROP"
)
_UNREAD = text(
    f"""
    INSERT INTO unread
    SELECT fact.id, fact.since, fact.xid, :highest + row_number() OVER (ORDER BY fact.since, fact.xid, fact.id) AS new_id
    FROM ({_IN_ORDER}) AS fact
    WHERE (fact.since, fact.xid, fact.id) > (
        SELECT since, xid, position FROM ({_CURSORS}) AS reader ORDER BY since, xid, position LIMIT 1)
    """  # noqa: S608 - words of ours
)
_CURSORS_MOVED = text(
    f"""
    UPDATE journal_cursors AS moved SET xid = pg_current_xact_id(), position = coalesce(
        (SELECT max(new_id) FROM unread
         WHERE (unread.since, unread.xid, unread.id) <= (reader.since, reader.xid, reader.position)), 0)
    FROM ({_CURSORS}) AS reader WHERE reader.subscriber = moved.subscriber
    """  # noqa: S608
)
_READ_BY_ALL = text(
    "UPDATE journal SET xid = '0' WHERE xid >= CAST(:next AS xid8) AND NOT EXISTS (SELECT FROM unread WHERE id = journal.id)"
)
_DEAD_LETTERS_MOVED = text("UPDATE dead_letters SET journal_id = new_id FROM unread WHERE unread.id = journal_id")
_MOVED = text("UPDATE journal SET id = new_id, xid = pg_current_xact_id() FROM unread WHERE unread.id = journal.id")
_NUMBERED_ON = text("SELECT setval(pg_get_serial_sequence('journal', 'id'), (SELECT max(id) FROM journal))")


def follow(database: Database) -> bool:
    """True: the journal came from another server, and each reader now stands where it stood there, with all that it had not
    read, and what was written here since, before it."""
    if database.sqlite:
        return False
    with database.read() as connection:
        if connection.execute(_FOREIGN).one_or_none() is None:
            return False
    with database.write() as connection:
        connection.execute(text("LOCK TABLE journal_cursors, journal IN EXCLUSIVE MODE"))
        return _follow(connection)


def _follow(connection: Connection) -> bool:
    found = connection.execute(_FOREIGN).one_or_none()
    if found is None:  # somebody else was first
        return False
    place = {"next": str(found.next)}
    place["last"] = connection.execute(_LAST, place).scalar_one()
    highest = connection.execute(text("SELECT coalesce(max(id), 0) FROM journal")).scalar_one()
    connection.execute(_TO_READ)
    connection.execute(_UNREAD, place | {"highest": highest})
    connection.execute(_CURSORS_MOVED, place)
    connection.execute(_READ_BY_ALL, place)
    connection.execute(_DEAD_LETTERS_MOVED)
    connection.execute(_MOVED)
    connection.execute(_NUMBERED_ON)
    return True
