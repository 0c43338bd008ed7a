"""The routes, by subject."""

from automl.ui.http.routes import comparisons, files, models, networks, server, studies, writes

ROUTERS = (
    models.router,
    networks.router,
    studies.router,
    comparisons.router,
    files.router,
    server.router,
    writes.router,
)
