"""A plugin whose best configuration depends on the dataset, to measure what transfers."""

from automl.core.api import Paper, PluginCard, hookimpl

CARD = PluginCard(
    name="related",
    target=f"{__name__}.plugin:Related",
    paper=Paper("No paper", 2026),
    problems=("tabular-classification",),
    dataset="spirals:train_size=2",
)


@hookimpl
def register_plugins(register):  # noqa: ANN001, ANN201
    """Offer the plugin."""
    register(CARD)
