#!/bin/sh
# What some tests need from Debian's packages, installed where that is possible (as root). What is missing is said
# loudly; the tests that need it are then skipped, and say so too.

install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    echo "Installing $* …"
    { apt-get install -y --no-install-recommends "$@" || { apt-get update && apt-get install -y --no-install-recommends "$@"; }; } >/dev/null 2>&1
}

missing() {
    echo "!! $1 is not on this machine and could not be installed: the tests that need it do not run." >&2
}

# An instance that Debian would start at installation is not wanted, only the programs.
export DEBIAN_FRONTEND=noninteractive
if [ ! -x /usr/lib/postgresql/15/bin/postgres ]; then
    install postgresql-15 || missing "Debian's PostgreSQL 15"
fi
if grep -rqs "mark.browser" tests --include='*.py'; then
    command -v chromium >/dev/null || install chromium || missing "Chromium"
fi
exit 0
