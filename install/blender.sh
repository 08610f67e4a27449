#!/usr/bin/env bash
# The tests in Blender, in the versions that install/test.sh leaves out; or in those that are named: blender.sh 5.0.1
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

[ $# -gt 0 ] || set -- 4.5.15 5.2.3
for version in "$@"; do
    "$bin/python" install/blender.py "$version"
    printf '\n== Blender %s\n' "$version"
    FEWSTROKE_BLENDER=$version "$bin/pytest" tests/hosts || fail "FAILED: Blender $version"
done
