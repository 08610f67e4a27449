# Sourced by the scripts of this folder. After it, $root is the repository, $bin holds the programs of a complete .venv,
# and the current folder is $root.

set -euo pipefail
unset CDPATH                    # with it, `cd` prints
unset PYTHONHOME PYTHONPATH     # studios point these at their own packages, which would come before the pinned ones

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3; do
        # Asked and not only looked for: the `python3.11` of a version manager may be a stub without a Python behind it.
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
        [ -z "${PYTHON:-}" ] || fail "\$PYTHON is '$PYTHON', which is not a Python 3.11 or newer that runs; set it to one, or unset it."
    done
    fail "Python 3.11 or newer is missing; install it (on Debian and Ubuntu: apt install python3.11-venv), or set \$PYTHON to where it is."
}

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
bin=$root/.venv/bin
cd -- "$root"

python=$(find_python)
"$python" install/environment.py
