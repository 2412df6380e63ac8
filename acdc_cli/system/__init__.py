"""What the operating system gives: processor cores, devices, signals, locks, files. Knows nothing of a run."""
