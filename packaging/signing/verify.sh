#!/bin/sh
# Says whether a Windows program or package is signed and was not changed since:
#
#   verify.sh FILE CA.pem [TSA-CA.pem]
#
# With a third argument the timestamp must be good too: osslsigncode itself
# succeeds without one. On Windows: signtool verify /pa /all FILE.
set -eu
[ $# -ge 2 ] || { echo "usage: verify.sh FILE CA.pem [TSA-CA.pem]" >&2; exit 2; }
file=$1 ca=$2 tsa=${3:-}
said=$(osslsigncode verify -CAfile "$ca" ${tsa:+-TSA-CAfile "$tsa"} -in "$file" 2>&1) || { echo "$said" >&2; exit 1; }
if [ -n "$tsa" ] && ! echo "$said" | grep -q '^Timestamp Server Signature verification: ok'; then
  echo "$said" >&2
  echo "verify.sh: error: the timestamp is missing or not good" >&2
  exit 1
fi
echo "$file: signed, unchanged"
