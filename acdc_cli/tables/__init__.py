"""The papers' result tables: the runs that they need, which of these are missing, and published and measured values."""
