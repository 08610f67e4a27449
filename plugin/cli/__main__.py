"""`python -m fewstroke.plugin.cli`."""

from .main import run

run()
