"""From YAML and the command line to a complete config: the typed keys, composing them, and every check of them."""
