"""Where things are kept."""

from __future__ import annotations

import os
from pathlib import Path


def database() -> str:
    """The model database, a file or a URL: AUTOML_DB or ``./automl.db``."""
    return os.environ.get("AUTOML_DB") or "./automl.db"


def artifact_root() -> Path:
    """The artifact folder, absolute: AUTOML_ARTIFACTS or ``./automl_artifacts``."""
    folder = os.environ.get("AUTOML_ARTIFACTS") or "./automl_artifacts"
    return Path(folder).expanduser().resolve()
