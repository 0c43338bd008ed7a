"""Continuous Thought Machines: neurons with a past, read by synchrony (Darlow et al., 2025)."""

from collections.abc import Callable

from automl.core.api import DatasetCard, Paper, PluginCard, ProbeCard, hookimpl

CARD = PluginCard(
    name="ctm",
    target=f"{__name__}.plugin:ContinuousThought",
    summary="thinks in internal ticks with private neuron models, stops when certain; LSTM rival",
    paper=Paper(
        "Continuous Thought Machines",
        2025,
        arxiv="2505.05522",
        authors="Darlow, Regan, Risi, Seely, Jones",
    ),
    problems=(
        "image-classification",
        "tabular-classification",
        "cumulative-parity",
        "sort-numbers",
        "maze-route",
        "digit-questions",
    ),
    dataset="digits-noisy",
    version=1,
)
DATASETS = {
    "digits-noisy": (
        "NoisyDigits",
        "image-classification",
        "handwritten digits under Gaussian noise, several draws of each",
    ),
    "cumulative-parity": ("Parity", "cumulative-parity", "parity of every prefix of random signs"),
    "sort-numbers": ("SortNumbers", "sort-numbers", "random numbers, their ascending order"),
    "maze": ("Maze", "maze-route", "perfect mazes as images, the first moves of the only route"),
    "digit-questions": (
        "DigitQuestions",
        "digit-questions",
        "digits to remember, then a sum of some of them modulo ten",
    ),
}


@hookimpl
def register_plugins(register: Callable[[PluginCard], None]) -> None:
    """Offer the plugin."""
    register(CARD)


@hookimpl
def register_datasets(register: Callable[[DatasetCard], None]) -> None:
    """Offer the paper's tasks, generated."""
    for name, (kind, problem, summary) in DATASETS.items():
        target = f"{__name__}.data:{kind}"
        register(DatasetCard(name=name, target=target, problem=problem, summary=summary))


@hookimpl
def register_probes(register: Callable[[ProbeCard], None]) -> None:
    """Offer the look at all ticks."""
    register(
        ProbeCard(
            name="thought_trace",
            target=f"{__name__}.probe:ThoughtTrace",
            problems=tuple(name for name in CARD.problems if name != "sort-numbers"),
            summary="accuracy per tick, early exit by certainty, calibration",
        )
    )
