"""Which parameters mattered in a study, rebuilt for Optuna from the database."""

from __future__ import annotations

import json
import warnings
from typing import Any

FEWEST = 4  # complete trials, below which importance says nothing


def importances(space: dict[str, Any], trials: list[dict[str, Any]], goal: str) -> dict[str, float]:
    """Share of the objective's variation by parameter (PED-ANOVA); empty if there is too little."""
    import optuna
    from optuna.distributions import BaseDistribution, json_to_distribution
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    known: dict[str, BaseDistribution] = {
        name: json_to_distribution(json.dumps(text)) for name, text in space.items()
    }
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if goal == "max" else "minimize")
    for trial in trials:
        if trial["state"] != "complete" or trial["objective"] is None:
            continue
        params = {key: value for key, value in trial["params"].items() if key in known}
        study.add_trial(
            optuna.trial.create_trial(
                params=params,
                distributions={name: known[name] for name in params},
                value=trial["objective"],
            )
        )
    if len(study.trials) < FEWEST:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
        except (ValueError, RuntimeError, ZeroDivisionError):
            return {}  # all trials alike: nothing explains nothing
