"""How Alembic reaches the database: through the connection that it is handed."""

from alembic import context

from automl.dataset_db.engine import VERSION_TABLE
from automl.dataset_db.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    render_as_batch=True,
    compare_type=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
