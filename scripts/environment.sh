#!/bin/sh
# Brings a virtual environment up to date: makes it, installs the package (editable) with pinned dependencies, or does
# nothing where that was done. Needs a Python with ensurepip and a package index, no more.
#
#     scripts/environment.sh FOLDER [EXTRA ...]     extras of pyproject.toml
#
# Where there is a C++ compiler on Linux x86-64 it also installs oneDNN and compiles the convolutions that run on it
# (native/build.py); elsewhere one line says why not. FLAXCNN_KERNELS=xla leaves that out.
#
# From the environment: PYTHON, the Python to make it with; PYTHON_LINES, the lines to look for ("3.11"); and
# CONSTRAINTS, the file of pins, in place of constraints/pyNNN.txt.
#
# What was finished is marked in the folder; what was interrupted is made again. Only a folder that this script made is
# ever removed.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
folder=$1
shift
extras=$(echo "$*" | tr -s ', ' ',')
extras=${extras%,}

made=$folder/.flaxcnn-made  # empty while it is being made; then what it was made from
busy=$folder/.flaxcnn-busy  # the process that makes it or installs in it
installed=$folder/.flaxcnn-installed-${extras:-core}  # digest of what was installed

fail() {
    echo "error: $1" >&2
    exit 2
}

known=$(sed -n '/^\[project.optional-dependencies\]/,/^\[project.scripts\]/s/^\([a-z]*\) = .*/\1/p' pyproject.toml)
for extra in $(echo "$extras" | tr ',' ' '); do # pip only warns of one that there is not
    echo "$known" | grep -qx "$extra" || fail "no extra '$extra'; known: $(echo "$known" | tr '\n' ' ' | sed 's/ $//; s/ /, /g')"
done

wanted=
if [ -n "${PYTHON:-}${PYTHON_LINES:-}" ]; then
    # shellcheck disable=SC2086 # lines are words
    wanted=$(sh scripts/find_python.sh ${PYTHON_LINES:-}) || exit $?
fi

sound() { # finished, still where it was made, its Python still there, and the one that is asked for
    [ -f "$made" ] && [ ! -f "$busy" ] && "$folder/bin/python" -c '' 2>/dev/null || return 1
    { read -r line && read -r python && read -r made_in; } <"$made" || return 1
    [ "$made_in" = "$root" ] && [ "${wanted:-$line $python}" = "$line $python" ]
}

pins() { # of this line of Python; the newest that there are for one that is newer still
    file=constraints/py3${line#3.}.txt
    # shellcheck disable=SC2012 # names of digits
    [ -f "$file" ] || file=$(ls constraints/py3*.txt | sort | tail -n 1)
    echo "${CONSTRAINTS:-$file}"
}

pip_install() { # without compiling native/, which comes last, with what it needs and with its own words
    FLAXCNN_KERNELS=xla "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$(pins)" "$@" ||
        fail "pip could not install what $folder needs (its own messages stand above); the same command tries again"
}

make_anew() {
    wanted=${wanted:-$(sh scripts/find_python.sh)} || exit $?
    line=${wanted%% *} python=${wanted#* }
    if [ -e "$folder" ] && [ ! -f "$made" ]; then
        fail "$folder exists and was not made by make; remove it, or name another folder with VENV="
    fi
    rm -rf "$folder"
    mkdir -p "$folder"
    : >"$made"
    echo $$ >"$busy"
    echo "Making $folder with Python $line ($python)"
    "$python" -m venv "$folder" || fail "$python could not make a virtual environment in $folder"
    # The build backends stand in the environment, pinned: ours, and setuptools for what comes as source (promise).
    pip_install hatchling editables setuptools
    printf '%s\n' "$line" "$python" "$root" >"$made"
}

if [ -f "$busy" ] && kill -0 "$(cat "$busy")" 2>/dev/null; then
    fail "process $(cat "$busy") is installing in $folder; wait until it has finished"
fi
sound || make_anew
digest=$(cat pyproject.toml "$(pins)" | cksum)
if [ ! -f "$installed" ] || [ "$(cat "$installed")" != "$digest" ]; then
    echo "Installing flaxcnn${extras:+[$extras]} in $folder with $(pins); the first time takes some minutes"
    echo $$ >"$busy"
    pip_install --no-build-isolation --editable ".${extras:+[$extras]}"
    echo "$digest" >"$installed"
fi
rm -f "$busy"
"$folder/bin/python" native/build.py --install "$(pins)" # optional: what it lacks is a line, not an error
