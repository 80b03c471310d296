#!/usr/bin/env bash
# Prints the path of memcached, which responders share answers in; installs Debian's package when it is missing.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ! command -v memcached >/dev/null 2>&1; then
  need_root_debian
  lock apt
  if ! command -v memcached >/dev/null 2>&1; then
    announce "memcached (package memcached) by apt-get"
    apt_install memcached
  fi
fi
command -v memcached
