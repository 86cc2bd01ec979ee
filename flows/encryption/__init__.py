"""Keys of payloads that are encrypted at rest; no model, no query."""
