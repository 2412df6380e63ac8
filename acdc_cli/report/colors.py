"""The colours of the two kinds of phase, in figures and on the terminal."""

PHASE_COLOR = {"dense": "#2f6fb0", "sparse": "#c8641e"}
