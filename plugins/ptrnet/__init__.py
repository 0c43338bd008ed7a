"""Pointer Networks: attention that points back at the input (Vinyals et al., 2015)."""

from collections.abc import Callable

from automl.core.api import DatasetCard, Paper, PluginCard, ProbeCard, hookimpl

CARD = PluginCard(
    name="ptrnet",
    target=f"{__name__}.plugin:PointerNetworks",
    summary="answers made of positions in the input: hulls, triangulations, tours, orders",
    paper=Paper("Pointer Networks", 2015, arxiv="1506.03134", authors="Vinyals, Fortunato, Jaitly"),
    problems=("convex-hull", "delaunay", "tsp", "sort"),
    dataset="convex-hull",
    version=1,
)
DATASETS = {
    "convex-hull": ("ConvexHull", "planar convex hulls of random points"),
    "delaunay": ("Delaunay", "Delaunay triangulations of random points"),
    "tsp": ("Tsp", "planar travelling salesman tours through random cities"),
    "sort": ("Sort", "numbers in ascending order, a ten-second task"),
}


@hookimpl
def register_plugins(register: Callable[[PluginCard], None]) -> None:
    """Offer the plugin."""
    register(CARD)


@hookimpl
def register_datasets(register: Callable[[DatasetCard], None]) -> None:
    """Offer the paper's three tasks, generated, and sorting."""
    for name, (kind, summary) in DATASETS.items():
        target = f"{__name__}.data:{kind}"
        register(DatasetCard(name=name, target=target, problem=name, summary=summary))


@hookimpl
def register_probes(register: Callable[[ProbeCard], None]) -> None:
    """Offer the measurement beyond the training lengths."""
    register(
        ProbeCard(
            name="length_generalisation",
            target=f"{__name__}.probe:LengthGeneralisation",
            problems=CARD.problems,
            summary="the metrics on inputs longer than any that was trained on",
        )
    )
