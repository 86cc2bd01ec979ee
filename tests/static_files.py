from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from whitenoise.middleware import WhiteNoiseMiddleware


@contextmanager
def looked_for_once() -> Iterator[None]:
    """Share between test clients what each would look for: some nine hundred static files."""
    found: dict[str, dict[str, Any]] = {}
    look = WhiteNoiseMiddleware.add_files_from_finders

    def add(middleware: Any) -> None:
        prefix = middleware.static_prefix
        if prefix not in found:
            look(middleware)
            found[prefix] = dict(middleware.files)
        middleware.files.update(found[prefix])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhiteNoiseMiddleware, "add_files_from_finders", add)
        yield
