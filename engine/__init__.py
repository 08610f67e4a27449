"""Pixels and networks: arrays in, arrays out. Knows no files, no graph, no host."""
