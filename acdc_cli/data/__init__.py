"""Data sets on disk and the three loaders that read them: FFCV first, torch, and whole sets on the device."""
