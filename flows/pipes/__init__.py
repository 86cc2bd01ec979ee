"""Apache Camel routes that start a flow and wait for its result."""
