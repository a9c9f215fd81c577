#!/bin/sh
# Make a tar of a small Debian root file system: debian_rootfs.sh OUT.tar [PACKAGE...]
# For `docker import` or a unit's rootfs. Needs root and debootstrap, and takes about a minute; the
# packages come from where this machine's apt has them.
set -eu
out=$1
shift
packages=$(echo "$*" | tr ' ' ',')
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -n 1)
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
debootstrap --variant=minbase ${packages:+--include="$packages"} "$suite" "$work/root" "$mirror" \
    >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }
rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/* \
    "$work"/root/usr/share/doc/* "$work"/root/usr/share/man/* "$work"/root/usr/share/locale/*
tar -C "$work/root" --xattrs --one-file-system -cf "$out.part" .
mv "$out.part" "$out"
