"""A plugin that reports what LEMUR's records say of a configuration, instead of training it."""

from automl.core.api import Paper, PluginCard, hookimpl

CARD = PluginCard(
    name="surrogate",
    target=f"{__name__}.plugin:Surrogate",
    paper=Paper("No paper", 2026),
    problems=("tabular-classification",),
    dataset="spirals:train_size=2",
)


@hookimpl
def register_plugins(register):  # noqa: ANN001, ANN201
    """Offer the plugin."""
    register(CARD)
