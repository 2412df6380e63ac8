"""The colours of dense and sparse phases, in figures and on the terminal."""

PHASE_COLOR = {"dense": "#2f6fb0", "sparse": "#c8641e"}
