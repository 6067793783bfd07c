"""Alembic runs this: the connection comes from `unface.review.store.migrate`."""

from alembic import context

from unface.review.tables import Base

if __name__ == "env_py":  # what Alembic calls it
    context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
    context.run_migrations()
