"""What an audit computes from the log: pure parts, for the engine, the client and their tests."""
