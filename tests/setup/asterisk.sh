#!/usr/bin/env bash
# Prints the path of a private root with Asterisk 22 (or 16, the one of Debian bullseye) in it, for tests and for `asterism up --pbx asterisk`.
#
# The root is built once by debootstrap and never entered: ROOT/run-asterisk starts its Asterisk from outside with the
# root's own libraries, with the same arguments as `asterisk` and with ordinary paths. So nothing is mounted, nothing
# outlives the process, and removing the cache folder is safe. Building needs root on Debian; running does not.
#
# ASTERISM_DEBIAN_MIRROR names the mirror when the machine's own package sources are not Debian's (Ubuntu).
# ASTERISM_ASTERISK_MAJOR is 22, or 16: both have a root of their own, and the dialplan's tests run on either by
#   ASTERISM_ASTERISK_ROOT.
# ASTERISM_ASTERISK_SUITE names the Debian suite (it must carry that Asterisk).
# ASTERISM_DEBOOTSTRAP_ARGS adds arguments (an old keyring may lack the suite's key: --no-check-gpg).
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

WANTED_MAJOR=${ASTERISM_ASTERISK_MAJOR:-22}
case $WANTED_MAJOR in
22) SUITE=${ASTERISM_ASTERISK_SUITE:-forky} ;;
16) SUITE=${ASTERISM_ASTERISK_SUITE:-bullseye} ;;
*) die "Asterisk $WANTED_MAJOR is none this project is tested on: ASTERISM_ASTERISK_MAJOR is 22 or 16" ;;
esac
ROOT=$CACHE_DIR/asterisk-$WANTED_MAJOR

usable() { [ -x "$1/run-asterisk" ] && "$1/run-asterisk" -V 2>/dev/null | grep -q "^Asterisk $WANTED_MAJOR\."; }

# The mirror that this machine's own package sources name for Debian's main archive.
mirror() {
  if [ -n "${ASTERISM_DEBIAN_MIRROR:-}" ]; then
    printf '%s\n' "$ASTERISM_DEBIAN_MIRROR"
    return
  fi
  apt-get indextargets --format '$(ORIGIN) $(LABEL) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk '$1 == "Debian" && $2 == "Debian" && $3 == "main" { print $4; exit }'
}

# The starter is found through its own place, so the root may be moved.
write_starter() {
  cat >"$1/run-asterisk" <<'STARTER'
#!/bin/sh
# Starts the Asterisk of this root from outside it, with the root's own loader and libraries. Same arguments as asterisk(8).
root=$(cd "$(dirname "$0")" && pwd)
for lib in "$root"/usr/lib/*-linux-gnu*; do break; done
for loader in "$root"/lib64/ld-linux*.so.* "$root"/lib/ld-linux*.so.* "$lib"/ld-linux*.so.*; do [ -e "$loader" ] && break; done
# Loaders before glibc 2.33 cannot name the program.
name="--argv0 asterisk"
"$loader" --help 2>/dev/null | grep -q -- --argv0 || name=
exec "$loader" $name --library-path "$lib:$lib/asterisk:$root/usr/lib" "$root/usr/sbin/asterisk" "$@"
STARTER
  chmod 755 "$1/run-asterisk"
  # Two paths that hold on every architecture, for astmoddir and for the documentation that Asterisk reads at start.
  (cd "$1" && for modules in usr/lib/*-linux-gnu*/asterisk/modules usr/lib/asterisk/modules; do [ -d "$modules" ] && break; done &&
    ln -sfn "$modules" modules && ln -sfn usr/share/asterisk data)
}

if ! usable "$ROOT"; then
  need_root_debian
  lock asterisk
fi
if ! usable "$ROOT"; then
  from=$(mirror)
  [ -n "$from" ] || {
    quietly apt-get update -q || true
    from=$(mirror)
  }
  [ -n "$from" ] || unsupported "no package source here is Debian's own: set ASTERISM_DEBIAN_MIRROR to a Debian mirror"
  announce "debootstrap by apt-get, and Asterisk $WANTED_MAJOR with what it needs (Debian $SUITE, 500 MB, about a minute) into $ROOT"
  command -v debootstrap >/dev/null 2>&1 || apt_install debootstrap
  script=/usr/share/debootstrap/scripts/$SUITE
  # An older debootstrap does not know the suite by name; all of Debian's newer suites are built as sid is.
  [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
  work=$ROOT.new
  rm -rf --one-file-system "$work"
  # shellcheck disable=SC2086 # the extra arguments are words on purpose
  quietly debootstrap --variant=minbase --include=asterisk,asterisk-modules,ca-certificates \
    ${ASTERISM_DEBOOTSTRAP_ARGS:-} "$SUITE" "$work" "$from" "$script" ||
    die "debootstrap of $SUITE failed (its output is above; ASTERISM_DEBOOTSTRAP_ARGS adds arguments)"
  rm -rf "$work"/var/cache/apt/archives/*.deb "$work"/var/lib/apt/lists/*
  write_starter "$work"
  usable "$work" || die "Debian $SUITE does not give Asterisk $WANTED_MAJOR: $("$work/run-asterisk" -V 2>&1 | head -n 1)"
  rm -rf --one-file-system "$ROOT"
  mv "$work" "$ROOT"
  say "installed $("$ROOT/run-asterisk" -V) into $ROOT"
fi
printf '%s\n' "$ROOT"
