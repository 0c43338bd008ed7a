"""How Alembic reaches the database: through the connection that it is handed."""

from alembic import context
from sqlmodel import SQLModel

from automl.dataset_db import tables

assert tables  # registers the tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
