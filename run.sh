#!/bin/sh
# Builds sluice and runs it in the foreground with conf/sluice.conf.  Installs what is missing on
# Debian 12 (as root or with sudo).  Extra arguments go to the broker: ./run.sh -v
set -eu
cd "$(dirname "$0")"
sh cmake/apt-need.sh cmake make gcc libc6-dev uthash-dev libxxhash-dev libssl-dev libargon2-dev libjwt-dev libgsasl-dev libjansson-dev libwebsockets-dev libcurl4-openssl-dev libutf8proc-dev libhttp-parser-dev
cmake -S . -B build -DCMAKE_BUILD_TYPE=Release --log-level=WARNING
cmake --build build --parallel "$(nproc)"
mkdir -p data
exec build/sluice -c conf/sluice.conf "$@"
