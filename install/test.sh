#!/usr/bin/env bash
# All checks: style, types, direction of imports, tests. Ends at the first that fails.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

check() {
    local what=$1
    shift
    printf '\n== %s\n' "$what"
    "$@" || fail "FAILED: $what"
}

check "ruff: code" "$bin/ruff" check
check "ruff: layout" "$bin/ruff" format --check
check "pyright: the import package as a tree of links" "$bin/python" install/stage.py build/dev/fewstroke --link
check "pyright: types" "$bin/pyright"
check "import-linter: plugin -> nodes -> engine, no torch in nodes" "$bin/lint-imports"
check "Blender 5.0.1, a real one, for the tests in it" "$bin/python" install/blender.py 5.0.1
check "pytest" "$bin/pytest" --durations=10

printf '\nAll checks passed.\n'
