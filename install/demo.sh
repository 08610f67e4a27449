#!/usr/bin/env bash
# The demo: installs what it needs, learns from one painted frame, paints the shot, and shows it on one sheet.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
exec "$bin/python" install/demo.py
