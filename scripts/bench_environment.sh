#!/bin/sh
# Brings the environments of the benchmark's peers up to date: .venv-bench-keras, Keras on the jax that this library is
# tested with, and .venv-bench-torch, PyTorch and torchvision on Python 3.11. A peer that cannot be installed here is
# one line, not an error: the benchmark leaves it out and says so.
#
#     scripts/bench_environment.sh [keras] [torch]     both where none is named
#
# From the environment: PYTHON, the Python of Keras's environment, as scripts/environment.sh takes it; and TORCH_PYTHON,
# an interpreter that has PyTorch already, and torchvision for the networks of the zoo, with which none is installed.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"

make_environment() { # peer, "LINE PYTHON", requirements, files of pins
    folder=.venv-bench-$1 line=${2%% *} python=${2#* } requirements=$3
    shift 3
    made=$folder/.flaxcnn-bench # empty while it is being made; then what it was made from
    digest="$line $python $(cat "$@" | cksum)"
    if [ -s "$made" ] && [ "$(cat "$made")" = "$digest" ] && "$folder/bin/python" -c '' 2>/dev/null; then
        return
    fi
    if [ -e "$folder" ] && [ ! -f "$made" ]; then
        echo "error: $folder exists and was not made by this script; remove it" >&2
        return 1
    fi
    echo "Installing $requirements in $folder with Python $line ($python)"
    rm -rf "$folder"
    mkdir "$folder" && : >"$made" && "$python" -m venv "$folder" || return
    pins=
    for file in "$@"; do
        pins="$pins --constraint $file"
    done
    # shellcheck disable=SC2086 # words
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check $pins $requirements || return
    echo "$digest" >"$made"
}

left_out() {
    echo "$1 is left out of the benchmark: $2" >&2
}

keras() {
    found=$(sh scripts/find_python.sh) || return
    line=${found%% *}
    ours=constraints/py3${line#3.}.txt
    # shellcheck disable=SC2012 # names of digits
    [ -f "$ours" ] || ours=$(ls constraints/py3*.txt | sort | tail -n 1)
    make_environment keras "$found" "keras jax" "$ours" constraints/bench-keras.txt
}

torch() {
    [ -z "${TORCH_PYTHON:-}" ] || return 0
    found=$(PYTHON='' sh scripts/find_python.sh 3.11) || return
    make_environment torch "$found" "torch torchvision efficientnet-lite-pytorch numpy setuptools" constraints/bench-torch.txt
}

[ $# -gt 0 ] || set -- keras torch
for peer in "$@"; do
    case $peer in
    keras) keras || left_out Keras "its environment could not be made (the reason stands above)" ;;
    torch) torch || left_out PyTorch "its environment could not be made (the reason stands above)" ;;
    *)
        echo "error: no such peer: $peer; keras and torch are known" >&2
        exit 2
        ;;
    esac
done
