"""One thin file per console script."""
