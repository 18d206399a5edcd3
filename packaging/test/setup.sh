#!/bin/sh
# Installs, on Debian or Ubuntu, what the tests of packages, disks and power cuts
# need beyond Go and git. Run it as root.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends \
  mmdebstrap systemd-container rpm lintian shellcheck man-db curl
# The Windows package, and its signature.
apt-get install -q -y --no-install-recommends wixl msitools faketime osslsigncode openssl
# Disks that are cut off or fill up, shares that hang, the order of flushes.
apt-get install -q -y --no-install-recommends e2fsprogs xfsprogs mount util-linux strace bindfs fuse
