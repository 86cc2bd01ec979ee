"""A second admin site of the project's own, beside the engine's."""

from unfold.sites import UnfoldAdminSite

office = UnfoldAdminSite(name="office")
