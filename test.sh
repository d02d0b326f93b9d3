#!/bin/bash
# Builds with sanitizers and runs every test: all of them under ASan and UBSan, then those of the
# threads under TSan.  Installs what is missing on Debian 12 (as root or with sudo).
#
#   ./test.sh                everything
#   ./test.sh --release      the optimised build instead, without sanitizers
#   ./test.sh -R REGEX       only tests whose name matches (as ctest's -R)
#
# The last line says "N passed, N failed"; the exit code is 0 only when none failed.
set -u
cd "$(dirname "$0")" || exit 1

release=no
filter=()
while [ $# -gt 0 ]; do
    case "$1" in
        --release) release=yes ;;
        -R) filter=(-R "${2:?-R wants a regular expression}"); shift ;;
        *) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift
done

passed=0
failed=0
finish() {
    echo
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
    exit
}
broken() {
    echo "test.sh: $1" >&2
    failed=$((failed + 1))
    finish
}

sh cmake/apt-need.sh cmake make gcc libc6-dev clang libclang-rt-14-dev clang-format libcmocka-dev \
    libpaho-mqtt-dev mosquitto mosquitto-clients haproxy uthash-dev libxxhash-dev libssl-dev openssl libargon2-dev libjwt-dev libgsasl-dev libjansson-dev libwebsockets-dev libcurl4-openssl-dev libutf8proc-dev libwslay-dev libhttp-parser-dev python3 \
    pkg-config || broken "packages are missing"

# A browser, and Node for MQTT.js.  Without them e2e_browsers fails, and only that.
node=()
command -v npm >/dev/null || node=(nodejs npm)
sh cmake/apt-need.sh chromium-headless-shell "${node[@]}" || echo "test.sh: no browser to test with" >&2

# The sanitizers of this age know only so many places for a program in memory, and kernels with more
# random bits put it elsewhere now and then.
fixed=()
if setarch "$(uname -m)" -R true 2>/dev/null; then
    fixed=(setarch "$(uname -m)" -R)
fi
export UBSAN_OPTIONS=print_stacktrace=1

build() { # FOLDER TARGET CMAKE_OPTION...
    local folder=$1 target=$2
    shift 2
    cmake -S . -B "$folder" -DSLUICE_TESTS=ON --log-level=WARNING "$@" || broken "cmake failed in $folder"
    cmake --build "$folder" --target "$target" --parallel "$(nproc)" || broken "$folder does not build"
}

run() { # FOLDER CTEST_OPTION...
    local folder=$1 log summary bad all
    shift
    log=$(mktemp)
    "${fixed[@]}" ctest --test-dir "$folder" --output-on-failure --timeout 300 -j2 "$@" "${filter[@]}" 2>&1 |
        tee "$log"
    summary=$(sed -n 's/.*tests passed, \([0-9]*\) tests\{0,1\} failed out of \([0-9]*\).*/\1 \2/p' "$log" | tail -n 1)
    grep -q "No tests were found" "$log" && summary="0 0"
    rm -f "$log"
    [ -n "$summary" ] || broken "ctest gave no result in $folder"
    read -r bad all <<<"$summary"
    passed=$((passed + all - bad))
    failed=$((failed + bad))
}

if [ "$release" = yes ]; then
    build build-release all -DCMAKE_BUILD_TYPE=Release
    run build-release
    finish
fi

build build-asan all -DSLUICE_SANITIZE=address
run build-asan
if ctest --test-dir build-asan -N -L tsan "${filter[@]}" | grep -q "Total Tests: [1-9]"; then
    # With clang, so that its warnings are seen as well.
    build build-tsan tsan_tests -DSLUICE_SANITIZE=thread -DCMAKE_C_COMPILER=clang
    TSAN_OPTIONS=halt_on_error=1 run build-tsan -L tsan
fi
finish
