#!/bin/sh
# Prints the newest supported Python that works here: its version line and the program's path, as "3.13 /usr/bin/python3.13".
#
#     scripts/find_python.sh [LINE ...]     lines in order of preference; by default those that constraints/ pins
#
# PYTHON, where it is set, is the only one looked at. Each candidate is tried by running it: a pyenv shim may stand on
# PATH for a version that is not switched on, and Debian's python3 may lack ensurepip. Exits with 2 where none is found.
set -eu

report() { # the line of the Python that is run, and its own path, not that of a shim
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2], sys.executable)' 2>/dev/null
}

fail() {
    echo "error: $1" >&2
    exit 2
}

cannot_make_environments=
usable() { # can it make a virtual environment and install from an index?
    "$1" -c 'import ensurepip, ssl, venv' 2>/dev/null && return
    cannot_make_environments="${cannot_make_environments:-$1}"
    return 1
}

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
any_newer=
if [ $# -eq 0 ]; then
    # py313.txt -> 3.13, the newest first
    # shellcheck disable=SC2012,SC2046 # names of digits
    set -- $(ls "$root/constraints" | sed -n 's/^py3\([0-9]*\)\.txt$/\1/p' | sort -rn | sed 's/^/3./')
    any_newer=yes
fi
oldest=$(for line in "$@"; do echo "$line"; done | sed 's/^3\.//' | sort -n | head -n 1)

if [ -n "${PYTHON:-}" ]; then
    found=$(report "$PYTHON") || fail "PYTHON=$PYTHON does not run; give the path of a Python 3.$oldest or newer"
    minor=${found%% *} minor=${minor#3.}
    case $minor in *[!0-9]*) minor=0 ;; esac # Python 2
    [ "$minor" -ge "$oldest" ] || fail "PYTHON=$PYTHON is Python ${found%% *}; 3.$oldest or newer is needed"
    usable "$PYTHON" || fail "PYTHON=$PYTHON cannot make virtual environments (no ensurepip, ssl or venv); on Debian: apt-get install python${found%% *}-venv"
    echo "$found"
    exit
fi

for line in "$@"; do
    for candidate in "python$line" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$line".*/bin/"python$line" python3; do
        found=$(report "$candidate") || continue
        [ "${found%% *}" = "$line" ] || continue
        usable "$candidate" || continue
        echo "$found"
        exit
    done
done
if [ -n "$any_newer" ] && found=$(report python3); then # newer than every line that is pinned
    minor=${found%% *} minor=${minor#3.}
    if [ "$minor" -gt "$oldest" ] && usable python3; then
        echo "$found"
        exit
    fi
fi

if [ -n "$cannot_make_environments" ]; then
    line=$(report "$cannot_make_environments") line=${line%% *}
    fail "$cannot_make_environments cannot make virtual environments (no ensurepip, ssl or venv); on Debian: apt-get install python$line-venv"
fi
fail "no Python 3.$oldest${any_newer:+ or newer} found on PATH or in pyenv; install one, or give its path with PYTHON="
