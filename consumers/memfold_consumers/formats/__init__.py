"""What ``memfold ingest`` reads: files in, checked events in order out. No NATS, no clock."""
