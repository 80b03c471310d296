#!/usr/bin/env bash
# Prints the path of SIPp, the carrier of the tests; installs Debian's package when it is missing.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ! command -v sipp >/dev/null 2>&1; then
  need_root_debian
  lock apt
  if ! command -v sipp >/dev/null 2>&1; then
    announce "SIPp (package sip-tester) by apt-get"
    apt_install sip-tester
  fi
fi
command -v sipp
