"""The training loop (read loop.py first) and what it stands on."""
