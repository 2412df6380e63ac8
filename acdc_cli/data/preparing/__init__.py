"""From published files, or the user's own, to a prepared data set; and finding one that is there."""
