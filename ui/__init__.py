"""The command line and the browser application: the one place that knows everybody."""
