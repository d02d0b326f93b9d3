#!/bin/sh
# Makes a certificate authority of your own, and certificates of it for a server and for clients, for
# first steps and for tests:
#
#   certs/make.sh FOLDER                      ca.crt ca.key server.crt server.key client.crt client.key
#   certs/make.sh FOLDER server NAME [HOST]   another server, NAME.crt and NAME.key, for HOST (an address
#                                             or a name; without it: this machine)
#   certs/make.sh FOLDER client NAME          another client, whose common name is NAME
#   certs/make.sh FOLDER revoke NAME          puts a certificate on the list ca.crl
#
# What is there already stays.  The keys have no pass phrase: keep them where only the broker can read.
# Environment: DAYS (365) that certificates are valid.
set -eu
umask 077
days=${DAYS:-365}

usage() {
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
[ $# -ge 1 ] || usage
mkdir -p "$1"
cd "$1"

key() { # FILE
    [ -e "$1" ] || openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

authority() {
    [ ! -e ca.crt ] || return 0
    key ca.key
    openssl req -x509 -new -key ca.key -days "$days" -subj "/O=sluice/CN=sluice CA" \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" -out ca.crt
}

issue() { # NAME USAGE [ALTERNATIVES]
    [ ! -e "$1.crt" ] || return 0
    key "$1.key"
    {
        echo "basicConstraints=critical,CA:FALSE"
        echo "keyUsage=critical,digitalSignature"
        echo "extendedKeyUsage=$2"
        [ -z "${3:-}" ] || echo "subjectAltName=$3"
    } >"$1.ext"
    openssl req -new -key "$1.key" -subj "/O=sluice/CN=$1" -out "$1.csr"
    # A serial number that is not given again, as browsers and revocation lists want it.
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -set_serial "0x$(openssl rand -hex 16)" \
        -days "$days" -extfile "$1.ext" -out "$1.crt" 2>/dev/null
    rm -f "$1.csr" "$1.ext"
}

server() { # NAME [HOST]
    case "${2:-}" in
        "") issue "$1" serverAuth "DNS:localhost,DNS:$(uname -n),IP:127.0.0.1,IP:::1" ;;
        *[!0-9.]*) issue "$1" serverAuth "DNS:$2" ;;
        *) issue "$1" serverAuth "IP:$2" ;;
    esac
}

revoke() { # NAME
    [ -e index.txt ] || : >index.txt
    printf '[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\ndefault_md=sha256\n' >ca.conf
    openssl ca -config ca.conf -cert ca.crt -keyfile ca.key -revoke "$1.crt" 2>/dev/null
    openssl ca -config ca.conf -cert ca.crt -keyfile ca.key -gencrl -crldays "$days" -out ca.crl 2>/dev/null
    rm -f ca.conf
}

authority
case "${2:-all}" in
    all) server server && issue client clientAuth ;;
    server) server "${3:?NAME}" "${4:-}" ;;
    client) issue "${3:?NAME}" clientAuth ;;
    revoke) revoke "${3:?NAME}" ;;
    *) usage ;;
esac
