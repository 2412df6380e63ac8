"""Run identity, run folder, trackers: everything a finished run is known by."""
