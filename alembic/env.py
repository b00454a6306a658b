"""Migrations run on the connection that csms.schema hands over, inside its transaction and under its lock."""

from alembic import context

given = context.config.attributes
context.configure(
    connection=given["connection"],
    version_table=given["version_table"],
    transactional_ddl=True,  # on SQLite too: we say BEGIN ourselves
    on_version_apply=given["on_version_apply"],
)
context.run_migrations(target=given["target"])
