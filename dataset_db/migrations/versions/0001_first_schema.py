"""First schema."""

import sqlalchemy as sa
from alembic import op

from automl.dataset_db.types import Json, Text, Utc

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Apply."""
    papers()
    surroundings()
    studies()
    trials()
    scores()
    exports()
    findings()


def downgrade() -> None:
    """Take back."""
    for table in (
        "claim_result",
        "probe_result",
        "benchmark",
        "export",
        "artifact",
        "evaluation",
        "score",
        "trial",
        "study",
        "environment",
        "dataset",
        "plugin_code",
        "code",
        "plugin",
        "paper",
    ):
        op.drop_table(table)


def papers() -> None:
    """Papers and code."""
    op.create_table(
        "paper",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("title", Text(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("arxiv", Text(), nullable=False),
        sa.Column("authors", Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paper")),
        sa.UniqueConstraint(
            "title", "year", "arxiv", "authors", name=op.f("uq_paper_title_year_arxiv_authors")
        ),
    )
    op.create_table(
        "plugin",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("paper_id", sa.Integer(), nullable=False),
        sa.Column("name", Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("code_hash", Text(), nullable=False),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], name=op.f("fk_plugin_paper_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plugin")),
        sa.UniqueConstraint(
            "name",
            "version",
            "code_hash",
            "paper_id",
            name=op.f("uq_plugin_name_version_code_hash_paper_id"),
        ),
    )
    op.create_index(op.f("ix_plugin_code_hash"), "plugin", ["code_hash"])
    op.create_index(op.f("ix_plugin_paper_id"), "plugin", ["paper_id"])
    op.create_table(
        "code",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sha256", Text(), nullable=False),
        sa.Column("normalised", Text(), nullable=False),
        sa.Column("text", Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_code")),
        sa.UniqueConstraint("sha256", name=op.f("uq_code_sha256")),
    )
    op.create_index(op.f("ix_code_normalised"), "code", ["normalised"])
    op.create_table(
        "plugin_code",
        sa.Column("plugin_id", sa.Integer(), nullable=False),
        sa.Column("file", Text(), nullable=False),
        sa.Column("code_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["code_id"], ["code.id"], name=op.f("fk_plugin_code_code_id")),
        sa.ForeignKeyConstraint(
            ["plugin_id"], ["plugin.id"], name=op.f("fk_plugin_code_plugin_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("plugin_id", "file", name=op.f("pk_plugin_code")),
    )
    op.create_index(op.f("ix_plugin_code_code_id"), "plugin_code", ["code_id"])


def surroundings() -> None:
    """Datasets and environments."""
    op.create_table(
        "dataset",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", Text(), nullable=False),
        sa.Column("hash", Text(), nullable=False),
        sa.Column("problem", Text(), nullable=False),
        sa.Column("info", Json(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset")),
        sa.UniqueConstraint("hash", name=op.f("uq_dataset_hash")),
    )
    op.create_index(op.f("ix_dataset_name"), "dataset", ["name"])
    op.create_index(op.f("ix_dataset_problem"), "dataset", ["problem"])
    op.create_table(
        "environment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("hash", Text(), nullable=False),
        sa.Column("facts", Json(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_environment")),
        sa.UniqueConstraint("hash", name=op.f("uq_environment_hash")),
    )


def studies() -> None:
    """Studies."""
    op.create_table(
        "study",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", Text(), nullable=False),
        sa.Column("kind", Text(), nullable=False),
        sa.Column("state", Text(), nullable=False),
        sa.Column("plugin_id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("environment_id", sa.Integer(), nullable=False),
        sa.Column("metric", Text(), nullable=False),
        sa.Column("goal", Text(), nullable=False),
        sa.Column("unit", Text(), nullable=False),
        sa.Column("metrics", Json(), nullable=False),
        sa.Column("settings", Json(), nullable=False),
        sa.Column("space", Json(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("budget_trials", sa.Integer(), nullable=True),
        sa.Column("budget_seconds", sa.Float(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("n_complete", sa.Integer(), nullable=False),
        sa.Column("n_pruned", sa.Integer(), nullable=False),
        sa.Column("n_failed", sa.Integer(), nullable=False),
        sa.Column("best_number", sa.Integer(), nullable=True),
        sa.Column("best_value", sa.Float(), nullable=True),
        sa.Column("best_cost", sa.Float(), nullable=False),
        sa.Column("message", Text(), nullable=False),
        sa.Column("owner", Text(), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.Column("active_at", Utc(), nullable=False),
        sa.Column("finished_at", Utc(), nullable=True),
        sa.CheckConstraint("goal IN ('min', 'max')", name=op.f("ck_study_goal_known")),
        sa.CheckConstraint("kind IN ('search', 'claim')", name=op.f("ck_study_kind_known")),
        sa.CheckConstraint(
            "state IN ('running', 'complete', 'exhausted', 'interrupted', 'failed')",
            name=op.f("ck_study_state_known"),
        ),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"], name=op.f("fk_study_dataset_id")),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["environment.id"], name=op.f("fk_study_environment_id")
        ),
        sa.ForeignKeyConstraint(["plugin_id"], ["plugin.id"], name=op.f("fk_study_plugin_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study")),
    )
    op.create_index(op.f("ix_study_dataset_id"), "study", ["dataset_id"])
    op.create_index(op.f("ix_study_environment_id"), "study", ["environment_id"])
    op.create_index(op.f("ix_study_name"), "study", ["name"])
    op.create_index(op.f("ix_study_plugin_id"), "study", ["plugin_id"])


def trials() -> None:
    """Trials."""
    op.create_table(
        "trial",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("label", Text(), nullable=False),
        sa.Column("objective", sa.Float(), nullable=True),
        sa.Column("cost", sa.Float(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("parameters", sa.BigInteger(), nullable=True),
        sa.Column("macs", sa.BigInteger(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("stopped", Text(), nullable=False),
        sa.Column("failure_kind", Text(), nullable=False),
        sa.Column("started_at", Utc(), nullable=False),
        sa.Column("finished_at", Utc(), nullable=True),
        sa.Column("config", Json(), nullable=False),
        sa.Column("params", Json(), nullable=False),
        sa.Column("techniques", Json(), nullable=False),
        sa.Column("scores", Json(), nullable=True),
        sa.Column("failure", Json(), nullable=True),
        sa.CheckConstraint(
            "state IN ('running', 'complete', 'pruned', 'failed', 'interrupted')",
            name=op.f("ck_trial_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_trial_study_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trial")),
        sa.UniqueConstraint("study_id", "number", name=op.f("uq_trial_study_id_number")),
    )
    op.create_index("ix_trial_best", "trial", ["state", "cost", "id"])
    op.create_index("ix_trial_study_best", "trial", ["study_id", "state", "cost", "id"])


def scores() -> None:
    """What is known of a trial beside its row."""
    op.create_table(
        "score",
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("split", Text(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("metric", Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trial.id"], name=op.f("fk_score_trial_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("trial_id", "split", "step", "metric", name=op.f("pk_score")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "evaluation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("dataset", Text(), nullable=False),
        sa.Column("split", Text(), nullable=False),
        sa.Column("metric", Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("reason", Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trial.id"], name=op.f("fk_evaluation_trial_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation")),
        sa.UniqueConstraint(
            "trial_id",
            "dataset",
            "split",
            "metric",
            name=op.f("uq_evaluation_trial_id_dataset_split_metric"),
        ),
    )
    op.create_table(
        "artifact",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("kind", Text(), nullable=False),
        sa.Column("path", Text(), nullable=False),
        sa.Column("sha256", Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trial.id"], name=op.f("fk_artifact_trial_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact")),
        sa.UniqueConstraint("trial_id", "kind", name=op.f("uq_artifact_trial_id_kind")),
    )


def exports() -> None:
    """Exported models and their speed."""
    op.create_table(
        "export",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("target", Text(), nullable=False),
        sa.Column("status", Text(), nullable=False),
        sa.Column("folder", Text(), nullable=False),
        sa.Column("files", Json(), nullable=False),
        sa.Column("opset", sa.Integer(), nullable=True),
        sa.Column("parity", Json(), nullable=False),
        sa.Column("facts", Json(), nullable=False),
        sa.Column("message", Text(), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.CheckConstraint("status <> ''", name=op.f("ck_export_status_given")),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trial.id"], name=op.f("fk_export_trial_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_export")),
    )
    op.create_index(op.f("ix_export_trial_id"), "export", ["trial_id"])
    op.create_table(
        "benchmark",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("export_id", sa.Integer(), nullable=False),
        sa.Column("device", Text(), nullable=False),
        sa.Column("runtime", Text(), nullable=False),
        sa.Column("precision", Text(), nullable=False),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("sizes", Json(), nullable=False),
        sa.Column("p50_us", sa.Float(), nullable=True),
        sa.Column("p95_us", sa.Float(), nullable=True),
        sa.Column("min_us", sa.Float(), nullable=True),
        sa.Column("mean_us", sa.Float(), nullable=True),
        sa.Column("memory", sa.BigInteger(), nullable=True),
        sa.Column("status", Text(), nullable=False),
        sa.Column("message", Text(), nullable=False),
        sa.Column("facts", Json(), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.CheckConstraint("status <> ''", name=op.f("ck_benchmark_status_given")),
        sa.ForeignKeyConstraint(
            ["export_id"], ["export.id"], name=op.f("fk_benchmark_export_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_benchmark")),
    )
    op.create_index(op.f("ix_benchmark_export_id"), "benchmark", ["export_id"])


def findings() -> None:
    """Probes and verdicts on claims."""
    op.create_table(
        "probe_result",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("probe", Text(), nullable=False),
        sa.Column("name", Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("created_at", Utc(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["trial.id"], name=op.f("fk_probe_result_trial_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_probe_result")),
        sa.UniqueConstraint(
            "trial_id", "probe", "name", name=op.f("uq_probe_result_trial_id_probe_name")
        ),
    )
    op.create_table(
        "claim_result",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("plugin", Text(), nullable=False),
        sa.Column("plugin_version", sa.Integer(), nullable=False),
        sa.Column("code_hash", Text(), nullable=False),
        sa.Column("claim", Text(), nullable=False),
        sa.Column("statement", Text(), nullable=False),
        sa.Column("source", Text(), nullable=False),
        sa.Column("scale", Text(), nullable=False),
        sa.Column("verdict", Text(), nullable=False),
        sa.Column("bars", Json(), nullable=False),
        sa.Column("runs", Json(), nullable=False),
        sa.Column("studies", Json(), nullable=False),
        sa.Column("command", Text(), nullable=False),
        sa.Column("created_at", Utc(), nullable=False),
        sa.CheckConstraint(
            "verdict IN ('reproduced', 'not reproduced', 'inconclusive')",
            name=op.f("ck_claim_result_verdict_known"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claim_result")),
    )
    op.create_index("ix_claim_result_plugin_claim", "claim_result", ["plugin", "claim", "scale"])
