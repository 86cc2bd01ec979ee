"""What a worker and its script hosts both know. Nothing in here knows Django."""
