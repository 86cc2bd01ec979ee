from django.db import models


class Language(models.TextChoices):
    PYTHON = "python", "Python"
    JAVASCRIPT = "javascript", "JavaScript"
    # The code is the dotted path of a function in the project's own code.
    CALLABLE = "callable", "Callable"

    @classmethod
    def of_code(cls) -> list[tuple[str, str]]:
        """Return the choices for code that is stored here: scripts and their libraries."""
        return [choice for choice in cls.choices if choice[0] != cls.CALLABLE]
