"""The read side: DuckDB projections of the log. Knows events and sequences, no NATS."""
