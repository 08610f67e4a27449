"""The graph: nodes that read, filter, guide, stylize and write frames, in any order. Knows files, knows no host."""
