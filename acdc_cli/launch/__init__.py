"""Sweeps, launchers and the processes of their jobs; what the commands do once their arguments are parsed."""
