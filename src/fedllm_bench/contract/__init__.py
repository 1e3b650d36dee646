"""What the engine promises of every method, checked on a tiny model: see `suite.check_method`."""
