"""FFCV's .beton files: whether FFCV works here, writing the files, their tables, and decoding their images."""
