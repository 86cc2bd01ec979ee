"""What `manage.py check` holds a project to, by what is looked at."""


def register_all() -> None:
    """Import the checks, which register themselves; they need the models."""
    from flows.checks import callables, database, deployment, settings, sites, users  # noqa: F401
