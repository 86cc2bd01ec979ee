"""Tags for the templates of the Configuration Manager."""
