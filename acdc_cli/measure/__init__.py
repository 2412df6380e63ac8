"""What a run is measured by: FLOPs, accuracy, agreement."""
