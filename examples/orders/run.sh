#!/bin/sh
# The order pipeline from one end to the other: builds it, runs it in a temporary folder on free ports,
# and checks that no order is lost or done twice.  Installs what is missing on Debian 12.
#
#   examples/orders/run.sh               1,000 orders
#   examples/orders/run.sh --orders 100
#   examples/orders/run.sh --chaos       kills workers and the broker (kill -9) on the way
#
# Exit code 0: everything is as it should be.
set -eu
cd "$(dirname "$0")/../.."
sh cmake/apt-need.sh cmake make gcc libc6-dev uthash-dev libxxhash-dev libssl-dev libargon2-dev libjwt-dev libgsasl-dev libjansson-dev libwebsockets-dev libcurl4-openssl-dev libutf8proc-dev libhttp-parser-dev libpaho-mqtt-dev python3
cmake -S . -B build --log-level=WARNING >/dev/null
cmake --build build --parallel "$(nproc)" --target sluice sluicectl orders_intake orders_worker orders_ledger >/dev/null
exec python3 -B examples/orders/pipeline.py --build build "$@"
