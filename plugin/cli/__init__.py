"""The `fewstroke` command: a host like the others."""
