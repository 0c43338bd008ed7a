"""Any model in LEMUR's format as an architecture, run in a sandbox (Goodarzi et al., 2025)."""

from collections.abc import Callable

from automl.core.api import Paper, PluginCard, hookimpl

CARD = PluginCard(
    name="lemur",
    target=f"{__name__}.plugin:Lemur",
    summary="any model file in LEMUR's format, trained in a sandbox: --set model=FILE.py",
    paper=Paper(
        "LEMUR Neural Network Dataset: Towards Seamless AutoML",
        2025,
        arxiv="2504.10552",
        authors="Goodarzi et al.",
    ),
    problems=("image-classification",),
    dataset="digits",
    version=1,
)


@hookimpl
def register_plugins(register: Callable[[PluginCard], None]) -> None:
    """Offer the plugin."""
    register(CARD)
