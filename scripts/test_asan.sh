#!/bin/sh
# Compiles the native convolutions with AddressSanitizer and UBSan into build/asan/ and runs their tests with that
# library. A finding ends the process and fails the command.
#
#     scripts/test_asan.sh ENVIRONMENT [argument of pytest ...]
set -eu

cd "$(dirname "$0")/.."
python=$1/bin/python
shift

"$python" native/build.py --sanitize --required

# Python is not compiled with them, so their runtime has to be there before it starts; and libstdc++ with it, without
# which the first C++ exception ends the process ("real___cxa_throw").
compiler=${CXX:-g++}
preload="$($compiler -print-file-name=libasan.so) $($compiler -print-file-name=libstdc++.so)"

# Leaks: Python, JAX and XLA keep memory until the process ends, all of which would be reported. One process: pytest-xdist's
# workers close before a finding is printed.
exec env LD_PRELOAD="$preload" FLAXCNN_KERNELS_FOLDER="$PWD/build/asan" \
    ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:${ASAN_OPTIONS:-}" UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}" \
    "$python" -m pytest -s tests/kernels/test_native.py "$@"
