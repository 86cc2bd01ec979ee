"""Tasks of django-q2: the engine's own, and the rules for those of a project."""
