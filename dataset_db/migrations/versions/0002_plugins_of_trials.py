"""Each trial has a plugin: several may compete in one study."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

from automl.dataset_db.types import Text, dumps

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "study_plugin",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("plugin_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["plugin_id"], ["plugin.id"], name=op.f("fk_study_plugin_plugin_id")
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_study_plugin_study_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("study_id", "plugin_id", name=op.f("pk_study_plugin")),
    )
    op.create_index(op.f("ix_study_plugin_plugin_id"), "study_plugin", ["plugin_id"])
    op.execute("INSERT INTO study_plugin (study_id, plugin_id) SELECT id, plugin_id FROM study")
    op.add_column("trial", sa.Column("plugin_id", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE trial SET plugin_id = (SELECT plugin_id FROM study WHERE study.id = trial.study_id)"
    )
    with op.batch_alter_table("trial") as batch:
        batch.alter_column("plugin_id", nullable=False)
        batch.create_foreign_key(op.f("fk_trial_plugin_id"), "plugin", ["plugin_id"], ["id"])
    op.create_index(op.f("ix_trial_plugin_id"), "trial", ["plugin_id"])
    op.add_column("study", sa.Column("plugin", Text(), nullable=True))
    op.execute(
        "UPDATE study SET plugin = (SELECT name FROM plugin WHERE plugin.id = study.plugin_id)"
    )
    rewrite(settled)
    op.drop_index(op.f("ix_study_plugin_id"), "study")
    with op.batch_alter_table("study") as batch:
        batch.alter_column("plugin", existing_type=Text(), nullable=False)
        batch.drop_constraint(op.f("fk_study_plugin_id"), type_="foreignkey")
        batch.drop_column("plugin_id")


def downgrade() -> None:
    """Take back; of a study of several plugins the first is kept as that of all trials."""
    op.add_column("study", sa.Column("plugin_id", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE study SET plugin_id = "
        "(SELECT min(plugin_id) FROM study_plugin WHERE study_plugin.study_id = study.id)"
    )
    rewrite(unsettled)
    with op.batch_alter_table("study") as batch:
        batch.alter_column("plugin_id", nullable=False)
        batch.create_foreign_key(op.f("fk_study_plugin_id"), "plugin", ["plugin_id"], ["id"])
        batch.drop_column("plugin")
    op.create_index(op.f("ix_study_plugin_id"), "study", ["plugin_id"])
    op.drop_index(op.f("ix_trial_plugin_id"), "trial")
    with op.batch_alter_table("trial") as batch:
        batch.drop_constraint(op.f("fk_trial_plugin_id"), type_="foreignkey")
        batch.drop_column("plugin_id")
    op.drop_table("study_plugin")


def rewrite(change: Any) -> None:
    """Pass the settings and the space of every study through ``change``."""
    connection = op.get_bind()
    found = connection.execute(sa.text("SELECT id, plugin, settings, space FROM study")).all()
    texts = sa.text("UPDATE study SET settings = :settings, space = :space WHERE id = :id")
    if connection.dialect.name == "postgresql":
        texts = sa.text(
            "UPDATE study SET settings = CAST(:settings AS JSONB), space = CAST(:space AS JSONB) "
            "WHERE id = :id"
        )
    for key, plugin, settings, space in found:
        before = [json.loads(v) if isinstance(v, str) else v for v in (settings, space)]
        after = [dumps(value) for value in change(plugin, *before)]
        connection.execute(texts, {"id": key, "settings": after[0], "space": after[1]})


OWN = ("reference", "base", "pinned", "techniques")


def settled(plugin: str, settings: Any, space: Any) -> tuple[Any, Any]:
    """What was told of the only plugin goes below its name."""
    own = {name: settings.pop(name) for name in OWN if name in settings}
    settings["plugins"] = {plugin: own}
    for trial in settings.get("list", ()):
        trial["plugin"] = plugin
    return settings, {plugin: space} if space else {}


def unsettled(plugin: str, settings: Any, space: Any) -> tuple[Any, Any]:
    """The opposite, for the first plugin."""
    first = plugin.split(", ")[0]
    own = settings.pop("plugins").get(first, {})
    for trial in settings.get("list", ()):
        del trial["plugin"]
    return settings | own, space.get(first, {})
