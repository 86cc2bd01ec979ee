"""The checks of `manage.py check`: a module for each thing that they check."""


def register_all() -> None:
    """Import the checks. They register themselves and need the models."""
    from flows.checks import (  # noqa: F401
        callables,
        database,
        deployment,
        identity,
        packages,
        settings,
        sites,
        users,
    )
