"""Where things are kept."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Places(BaseSettings):
    """Where things are kept: AUTOML_DB (a file or URL) and AUTOML_ARTIFACTS (a folder)."""

    model_config = SettingsConfigDict(env_prefix="AUTOML_", env_ignore_empty=True)
    db: str = "./automl.db"
    artifacts: Path = Path("./automl_artifacts")


def artifact_root() -> Path:
    """The artifact folder, absolute: AUTOML_ARTIFACTS or ``./automl_artifacts``."""
    return Places().artifacts.expanduser().resolve()
