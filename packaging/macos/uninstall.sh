#!/bin/sh
# Removes digime-sync from a Mac. Configuration, consent tokens and the record of
# what was delivered stay, unless --purge says otherwise.
#   sudo sh uninstall.sh [--purge]
set -eu
label=me.digi.digime-sync
account=_digimesync
home="/Library/Application Support/digime-sync"

case "${1-}" in
  "" | --purge) ;;
  *) echo "usage: sudo sh uninstall.sh [--purge]" >&2; exit 2 ;;
esac
if [ "$(id -u)" != 0 ]; then
  echo "uninstall.sh: error: this needs an administrator: sudo sh uninstall.sh" >&2
  exit 1
fi

launchctl bootout "system/$label" 2>/dev/null || true
rm -f "/Library/LaunchDaemons/$label.plist" /usr/local/bin/digime-sync
rm -rf /usr/local/share/doc/digime-sync
rm -f /usr/local/share/man/man1/digime-sync.1 /usr/local/share/man/man1/digime-sync-*.1
rm -f /usr/local/share/zsh/site-functions/_digime-sync /usr/local/share/bash-completion/completions/digime-sync
if [ "${1-}" = --purge ]; then
  rm -rf "$home" /Library/Logs/digime-sync
  dscl . -delete "/Users/$account" 2>/dev/null || true
  dscl . -delete "/Groups/$account" 2>/dev/null || true
else
  rm -f "$home/config.yaml.example" "$home/uninstall.sh"
  echo "kept: $home (remove it, with all consent tokens, by: sudo rm -rf '$home')"
fi
pkgutil --forget "$label" >/dev/null 2>&1 || true
