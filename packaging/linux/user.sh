#!/bin/sh
# Before the files are unpacked, for deb and rpm: the account the service runs
# as. The files name it as their owner, so it must be there first.
set -e
if ! getent group digime-sync >/dev/null; then
  groupadd --system digime-sync
fi
if ! getent passwd digime-sync >/dev/null; then
  useradd --system --gid digime-sync --home-dir /var/lib/digime-sync --no-create-home \
    --shell /usr/sbin/nologin --comment "digime-sync service" digime-sync
fi
