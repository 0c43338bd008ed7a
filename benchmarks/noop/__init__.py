"""A plugin that does nothing, to measure the engine around it."""

from automl.core.api import Paper, PluginCard, hookimpl

CARD = PluginCard(
    name="noop",
    target=f"{__name__}.plugin:Noop",
    paper=Paper("No paper", 2026),
    problems=("tabular-classification",),
    dataset="spirals:train_size=2",
)


@hookimpl
def register_plugins(register):  # noqa: ANN001, ANN201
    """Offer the plugin."""
    register(CARD)
