"""Neural circuit architectural priors: a worm's circuit swims (Bhattasali et al., 2022)."""

from collections.abc import Callable

from automl.core.api import DatasetCard, Paper, PluginCard, ProbeCard, hookimpl

CARD = PluginCard(
    name="ncap",
    target=f"{__name__}.plugin:CircuitPriors",
    summary="a four-parameter swimming circuit and MLPs, learnt by evolution, PPO or DDPG",
    paper=Paper(
        "Neural Circuit Architectural Priors for Embodied Control",
        2022,
        arxiv="2201.05242",
        authors="Bhattasali, Zador, Engel",
    ),
    problems=("control",),
    dataset="swimmer",
    version=1,
)
PROBES = {
    "data_efficiency": ("DataEfficiency", "return before learning, and steps to 80 % of the best"),
    "transfer": ("Transfer", "return on shorter and longer bodies, without training there"),
}


@hookimpl
def register_plugins(register: Callable[[PluginCard], None]) -> None:
    """Offer the plugin."""
    register(CARD)


@hookimpl
def register_datasets(register: Callable[[DatasetCard], None]) -> None:
    """Offer the simulated swimmer; its options choose body, speed and task."""
    register(
        DatasetCard(
            name="swimmer",
            target=f"{__name__}.data:Swimmer",
            problem="control",
            summary="a chain of links that swims forward, or to a target (needs the mujoco extra)",
        )
    )


@hookimpl
def register_probes(register: Callable[[ProbeCard], None]) -> None:
    """Offer the paper's two measurements beside the return."""
    for name, (kind, summary) in PROBES.items():
        target = f"{__name__}.probe:{kind}"
        register(ProbeCard(name=name, target=target, problems=CARD.problems, summary=summary))
