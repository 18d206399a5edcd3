#!/bin/sh
# Signs a Windows program or package in place:
#
#   sign.sh FILE
#
# No key is kept here. The environment says where it is:
#
#   SIGN_CERTS      certificates, PEM: the signing one and what leads to its root
#   SIGN_KEY        private key, PEM; or
#   SIGN_PKCS11     a key on a token: pkcs11:… , with
#   SIGN_MODULE     its library, and SIGN_ENGINE the OpenSSL engine where that is not the default
#   SIGN_PASS_FILE  a file with the password of either
#   SIGN_TIMESTAMP  URL of a timestamp authority (RFC 3161); without a timestamp a
#                   signature ends with its certificate
#   SIGN_HOOK       a command that signs FILE in place in some other way (a signing
#                   service); then none of the above is read
#
# Needs osslsigncode.
set -eu
if [ $# -ne 1 ] || [ ! -f "$1" ]; then echo "usage: sign.sh FILE" >&2; exit 2; fi
file=$1
if [ -n "${SIGN_HOOK:-}" ]; then
  exec $SIGN_HOOK "$file"
fi
if [ -z "${SIGN_CERTS:-}" ] || [ -z "${SIGN_KEY:-}${SIGN_PKCS11:-}" ]; then
  echo "sign.sh: error: no key to sign with" >&2
  echo "sign.sh: hint: set SIGN_CERTS and SIGN_KEY, SIGN_PKCS11 or SIGN_HOOK" >&2
  exit 2
fi
set -- sign -certs "$SIGN_CERTS" -h sha256 -n "digi.me Sync" -i https://github.com/digime-sync/digime-sync
if [ -n "${SIGN_PKCS11:-}" ]; then
  set -- "$@" -pkcs11module "${SIGN_MODULE:?the library of the token}" -key "$SIGN_PKCS11"
  [ -z "${SIGN_ENGINE:-}" ] || set -- "$@" -pkcs11engine "$SIGN_ENGINE"
else
  set -- "$@" -key "$SIGN_KEY"
fi
[ -z "${SIGN_PASS_FILE:-}" ] || set -- "$@" -readpass "$SIGN_PASS_FILE"
[ -z "${SIGN_TIMESTAMP:-}" ] || set -- "$@" -ts "$SIGN_TIMESTAMP"
# An authority of the tests' own, without a network.
[ -z "${SIGN_TEST_TSA_CERTS:-}" ] || set -- "$@" -TSA-certs "$SIGN_TEST_TSA_CERTS" -TSA-key "$SIGN_TEST_TSA_KEY" -TSA-time "$(date +%s)"
signed=$(mktemp "$file.signed.XXXXXX")
trap 'rm -f "$signed"' EXIT
rm "$signed" # osslsigncode does not overwrite
osslsigncode "$@" -in "$file" -out "$signed" >&2
chmod --reference="$file" "$signed"
mv "$signed" "$file"
trap - EXIT
