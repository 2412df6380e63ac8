"""From a prepared data set to batches: three loaders that give the same samples in the same order, and augmentation."""
