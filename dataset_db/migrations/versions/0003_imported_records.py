"""Published records may be imported, with source and flags; lists of a dataset are indexed."""

import sqlalchemy as sa
from alembic import op

from automl.dataset_db.types import Json, Text, Utc

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply."""
    sources()
    # SQLite would append the column to the text of the table's last line.
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("code", recreate="always" if on_sqlite else "never") as batch:
        batch.add_column(sa.Column("minhash", sa.LargeBinary(), nullable=True))
    with op.batch_alter_table("plugin") as batch:
        batch.add_column(sa.Column("family", Text(), nullable=True))
        batch.add_column(sa.Column("facts", Json(), nullable=True))
    op.execute("UPDATE plugin SET family = ''")
    with op.batch_alter_table("plugin") as batch:
        batch.alter_column("family", existing_type=Text(), nullable=False)
    with op.batch_alter_table("study") as batch:
        batch.add_column(sa.Column("source_id", sa.Integer(), nullable=True))
        batch.create_foreign_key(op.f("fk_study_source_id"), "source", ["source_id"], ["id"])
        batch.alter_column("seed", existing_type=sa.BigInteger(), nullable=True)
        batch.drop_constraint(op.f("ck_study_kind_known"), type_="check")
        batch.create_check_constraint(
            op.f("ck_study_kind_known"), "kind IN ('search', 'claim', 'import')"
        )
    op.create_index("ix_study_source_id", "study", ["source_id", "name"])
    op.drop_index(op.f("ix_trial_plugin_id"), "trial")
    op.add_column("trial", sa.Column("dataset_id", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE trial SET dataset_id = "
        "(SELECT dataset_id FROM study WHERE study.id = trial.study_id)"
    )
    with op.batch_alter_table("trial") as batch:
        batch.alter_column("dataset_id", existing_type=sa.Integer(), nullable=False)
        batch.create_foreign_key(op.f("fk_trial_dataset_id"), "dataset", ["dataset_id"], ["id"])
        batch.alter_column("seed", existing_type=sa.BigInteger(), nullable=True)
        batch.alter_column("seconds", existing_type=sa.Float(), nullable=True)
        batch.alter_column("started_at", existing_type=Utc(), nullable=True)
    for of in ("dataset", "plugin"):
        op.create_index(f"ix_trial_{of}_best", "trial", [f"{of}_id", "state", "cost", "id"])
    what_was_odd()


def downgrade() -> None:
    """Take back; imported records, which the older schema cannot hold, are deleted."""
    for table in ("device_run", "flag", "source_file"):
        op.drop_table(table)
    imported = "(SELECT id FROM study WHERE source_id IS NOT NULL)"
    trials = f"(SELECT id FROM trial WHERE study_id IN {imported})"
    for table in ("score", "evaluation", "artifact", "probe_result"):
        op.execute(f"DELETE FROM {table} WHERE trial_id IN {trials}")
    op.execute(f"DELETE FROM trial WHERE study_id IN {imported}")
    op.execute(f"DELETE FROM study_plugin WHERE study_id IN {imported}")
    op.execute("DELETE FROM study WHERE source_id IS NOT NULL")
    for of in ("dataset", "plugin"):
        op.drop_index(f"ix_trial_{of}_best", "trial")
    with op.batch_alter_table("trial") as batch:
        batch.alter_column("started_at", existing_type=Utc(), nullable=False)
        batch.alter_column("seconds", existing_type=sa.Float(), nullable=False)
        batch.alter_column("seed", existing_type=sa.BigInteger(), nullable=False)
        batch.drop_constraint(op.f("fk_trial_dataset_id"), type_="foreignkey")
        batch.drop_column("dataset_id")
    op.create_index(op.f("ix_trial_plugin_id"), "trial", ["plugin_id"])
    op.drop_index("ix_study_source_id", "study")
    with op.batch_alter_table("study") as batch:
        batch.drop_constraint(op.f("ck_study_kind_known"), type_="check")
        batch.create_check_constraint(op.f("ck_study_kind_known"), "kind IN ('search', 'claim')")
        batch.alter_column("seed", existing_type=sa.BigInteger(), nullable=False)
        batch.drop_constraint(op.f("fk_study_source_id"), type_="foreignkey")
        batch.drop_column("source_id")
    with op.batch_alter_table("plugin") as batch:
        batch.drop_column("facts")
        batch.drop_column("family")
    with op.batch_alter_table("code") as batch:
        batch.drop_column("minhash")
    op.drop_table("source")


def sources() -> None:
    """Where records come from, and their texts that belong to no network."""
    op.create_table(
        "source",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", Text(), nullable=False),
        *(sa.Column(name, Text(), nullable=False) for name in ("kind", "version", "licence")),
        *(sa.Column(name, Text(), nullable=False) for name in ("origin", "state")),
        sa.Column("counts", Json(), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.CheckConstraint(
            "state IN ('importing', 'complete')", name=op.f("ck_source_state_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source")),
        sa.UniqueConstraint("name", name=op.f("uq_source_name")),
    )
    op.create_table(
        "source_file",
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("path", Text(), nullable=False),
        sa.Column("code_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["code_id"], ["code.id"], name=op.f("fk_source_file_code_id")),
        sa.ForeignKeyConstraint(
            ["source_id"], ["source.id"], name=op.f("fk_source_file_source_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("source_id", "path", name=op.f("pk_source_file")),
    )
    op.create_index(op.f("ix_source_file_code_id"), "source_file", ["code_id"])


def what_was_odd() -> None:
    """Flags of records and files; runs on devices."""
    op.create_table(
        "flag",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=True),
        sa.Column("step", sa.BigInteger(), nullable=True),
        sa.Column("place", Text(), nullable=False),
        sa.Column("reason", Text(), nullable=False),
        sa.Column("detail", Json(), nullable=True),
        sa.ForeignKeyConstraint(
            ["source_id"], ["source.id"], name=op.f("fk_flag_source_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trial.id"], name=op.f("fk_flag_trial_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_flag")),
    )
    op.create_index("ix_flag_source_id", "flag", ["source_id", "reason"])
    op.create_index(op.f("ix_flag_trial_id"), "flag", ["trial_id"])
    texts = ("place", "dataset", "device", "system", "runtime", "precision", "unit", "message")
    op.create_table(
        "device_run",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("plugin_id", sa.Integer(), nullable=False),
        *(sa.Column(name, Text(), nullable=False) for name in texts),
        sa.Column("valid", sa.Boolean(), nullable=True),
        sa.Column("emulator", sa.Boolean(), nullable=True),
        sa.Column("duration", sa.Float(), nullable=True),
        sa.Column("facts", Json(), nullable=False),
        sa.ForeignKeyConstraint(
            ["source_id"], ["source.id"], name=op.f("fk_device_run_source_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["plugin_id"], ["plugin.id"], name=op.f("fk_device_run_plugin_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_run")),
    )
    for of in ("source", "plugin"):
        op.create_index(op.f(f"ix_device_run_{of}_id"), "device_run", [f"{of}_id"])
