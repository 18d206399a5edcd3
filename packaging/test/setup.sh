#!/bin/sh
# Installs, on Debian or Ubuntu, what the tests of the packages need beyond Go
# and git. Run it as root.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends \
  mmdebstrap systemd-container rpm lintian shellcheck man-db curl
# The Windows package, and its signature.
apt-get install -q -y --no-install-recommends wixl msitools faketime osslsigncode openssl
