#!/bin/sh
# apt-need.sh PACKAGE...
# Installs those of the Debian packages that are missing, in one go and only if some are.
set -eu
missing=""
for package in "$@"; do
    if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "install ok installed"; then
        missing="$missing $package"
    fi
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo"
fi
if ! command -v apt-get >/dev/null || { [ -n "$as_root" ] && ! command -v sudo >/dev/null; }; then
    echo "missing packages, please install:$missing" >&2
    exit 1
fi
echo "installing:$missing"

# A package with a service in it (mosquitto, for comparison) must not start it: it would sit on
# port 1883.  This is Debian's way to say so.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
    trap '$as_root rm -f "$policy"' EXIT INT TERM
fi
$as_root apt-get -qq update || echo "apt-get update failed, trying with the lists there are" >&2
# shellcheck disable=SC2086 # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing
