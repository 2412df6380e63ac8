"""Pages and tables, from run records only."""
