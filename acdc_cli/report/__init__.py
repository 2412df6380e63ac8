"""Pages, tables and figures of runs, made from run records only."""
