"""What the paper measures beside the return: how soon it is reached, and on which bodies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from automl.core.api import DataError, Dataset, Plugin, Probe, Scores, Settings
from automl.plugins.ncap.data import Swimmer, body_of
from automl.plugins.ncap.model import Policy
from automl.plugins.ncap.rollout import episodes

BODIES = (4, 8, 10, 12)  # links


def swum(model: nn.Module, data: Dataset, what: str) -> tuple[Policy, Swimmer]:
    """The model and its data, if they are ours.

    Raises:
        DataError: if they are not.
    """
    if not isinstance(model, Policy) or not isinstance(data, Swimmer):
        raise DataError(f"{what} is measured on policies of the plugin ncap and its swimmer")
    return model, data


class DataEfficiency(Probe):
    """``initial_return`` on the test episodes before learning; control steps taken, and steps
    until 80 % of the policy's own best validation return (``steps_to_80pct``).
    """  # noqa: D205

    name = "data_efficiency"

    def measure(
        self, plugin: Plugin[Any, Any], model: nn.Module, config: Settings, data: Dataset
    ) -> Scores:
        """See the class; a model that was not fitted has taken no steps."""
        policy, swimmer = swum(model, data, self.name)
        test = swimmer.split("test")
        seeds = test.examples["episode_seed"].tolist()
        start = policy.initial.cpu().double().numpy()
        played = episodes(policy, body_of(test.info), seeds, start)
        taken, good = policy.learning.tolist()
        return {
            "initial_return": float(played.returns.mean()),
            "steps": taken,
            "steps_to_80pct": good,
        }


class Transfer(Probe):
    """``links=N``: the return on the test episodes of bodies of 4, 8, 10 and 12 links."""

    name = "transfer"

    def measure(
        self, plugin: Plugin[Any, Any], model: nn.Module, config: Settings, data: Dataset
    ) -> Scores:
        """See the class.

        Raises:
            DataError: for a policy whose weights belong to the joints of one body.
        """
        policy, swimmer = swum(model, data, self.name)
        found: Scores = {}
        for links in BODIES:
            name = f"{swimmer.name} with {links} links"
            other = replace(swimmer, n_links=links, name=name)
            found[f"links={links}"] = plugin.evaluate(policy, config, other.split("test"))["return"]
        return found
