"""Support vector machines with the kernel of infinitely wide networks (Chen et al., 2021)."""

from collections.abc import Callable

from automl.core.api import DatasetCard, Paper, PluginCard, ProbeCard, hookimpl

CERTIFIED = "certified-classification"
CARD = PluginCard(
    name="ntk_svm",
    target=f"{__name__}.plugin:TangentMachines",
    summary="networks and the kernel machines they equal when infinitely wide, with certificates",
    paper=Paper(
        "On the Equivalence between Neural Network and Support Vector Machine",
        2021,
        arxiv="2111.06063",
        authors="Chen, Huang, Nguyen, Weng",
    ),
    problems=(
        "image-classification",
        "tabular-classification",
        CERTIFIED,
        "tabular-regression",
    ),
    dataset="digit-pairs",
    version=1,
)
DATASETS = {
    "digit-pairs": ("DigitPairs", "image-classification", "two of scikit-learn's digits"),
    "digit-pairs-certified": (
        "CertifiedDigitPairs",
        CERTIFIED,
        "the same, judged by certified radii",
    ),
    "clouds": ("Clouds", "tabular-classification", "two Gaussians or two noisy spheres, generated"),
}
CLASSES = ("image-classification", "tabular-classification", CERTIFIED)
PROBES = {
    "certificate": ("Certificate", "certified l-infinity radii of right answers"),
    "attack": ("Attack", "projected gradient attacks within the certified radii"),
    "ntk_gap": ("KernelGap", "distance between a finite network and its kernel machine"),
    "generalisation_bound": ("GeneralisationBound", "a bound on the hinge loss, two classes"),
}


@hookimpl
def register_plugins(register: Callable[[PluginCard], None]) -> None:
    """Offer the plugin."""
    register(CARD)


@hookimpl
def register_datasets(register: Callable[[DatasetCard], None]) -> None:
    """Offer pairs of digits, and generated clouds of any size and dimension."""
    for name, (kind, problem, summary) in DATASETS.items():
        target = f"{__name__}.data:{kind}"
        register(DatasetCard(name=name, target=target, problem=problem, summary=summary))


@hookimpl
def register_probes(register: Callable[[ProbeCard], None]) -> None:
    """Offer the paper's three measurements, and an attack that tests the first."""
    for name, (kind, summary) in PROBES.items():
        target = f"{__name__}.probe:{kind}"
        register(ProbeCard(name=name, target=target, problems=CLASSES, summary=summary))
