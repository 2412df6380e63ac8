"""Measurements of a run: FLOPs, accuracy, agreement of two models, dynamics of the masks, memory."""
