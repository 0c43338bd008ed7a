"""Spiking networks: surrogates, conversion, spike times and STDP (Tavanaei et al., 2018)."""

from collections.abc import Callable

from automl.core.api import DatasetCard, Paper, PluginCard, ProbeCard, hookimpl

CARD = PluginCard(
    name="spiking",
    target=f"{__name__}.plugin:Spiking",
    summary="five ways to let a spiking network classify, with every operation counted",
    paper=Paper(
        "Deep Learning in Spiking Neural Networks",
        2018,
        arxiv="1804.08150",
        authors="Tavanaei, Ghodrati, Kheradpisheh, Masquelier, Maida",
    ),
    problems=("image-classification", "tabular-classification"),
    dataset="digits",
    version=1,
)
DATASETS = {
    "strokes": ("Strokes", "image-classification", "generated: ten classes of jittered polylines"),
    "moons-latency": (
        "MoonsLatency",
        "tabular-classification",
        "two moons, each coordinate seen by eight Gaussian receptive fields",
    ),
}


@hookimpl
def register_plugins(register: Callable[[PluginCard], None]) -> None:
    """Offer the plugin."""
    register(CARD)


@hookimpl
def register_datasets(register: Callable[[DatasetCard], None]) -> None:
    """Offer the two generated sets."""
    for name, (kind, problem, summary) in DATASETS.items():
        target = f"{__name__}.data:{kind}"
        register(DatasetCard(name=name, target=target, problem=problem, summary=summary))


@hookimpl
def register_probes(register: Callable[[ProbeCard], None]) -> None:
    """Offer the count of spikes, operations and energy."""
    register(
        ProbeCard(
            name="spike_energy",
            target=f"{__name__}.probe:SpikeEnergy",
            problems=CARD.problems,
            summary="spikes, synaptic operations and energy against the same network of ReLUs",
        )
    )
