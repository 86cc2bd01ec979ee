"""The traces of runs. The modules need the extra `otel`; see `scripts/traces/`."""
