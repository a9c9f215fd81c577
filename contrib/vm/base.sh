#!/bin/sh
# Make the guest's system: base.sh DIRECTORY. Needs root, debootstrap and mkfs.ext4.
# Leaves there: root/ (the files), root.img (a disk of them), vmlinuz, initrd. Nothing of Creche is
# in it, so that it can be kept: packages.txt, this script and guest/ are all that it depends on.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -n 1)
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
packages=$(grep -v '^#' "$here/packages.txt" | paste -sd ,)

# in a mount namespace of its own: whatever debootstrap mounts goes with it, also if it is killed
unshare -m debootstrap --variant=minbase --include="$packages" "$suite" "$out/root" "$mirror" \
    >"$out/log" 2>&1 || { tail -n 20 "$out/log" >&2; exit 1; }

root=$out/root
cp -r "$here/guest/etc" "$root/"
echo creche-vm >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 creche-vm\n' >"$root/etc/hosts"
mkdir "$root/opt/creche"
# what would come and go by itself while the tests compare the host before and after
chroot "$root" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer fstrim.timer systemd-tmpfiles-clean.timer systemd-timesyncd.service \
    containerd.service docker.service docker.socket supervisor.service
chroot "$root" passwd -q -d root
cp "$root"/boot/vmlinuz-* "$out/vmlinuz"
cp "$root"/boot/initrd.img-* "$out/initrd"
rm -rf "$root"/boot/* "$root"/var/cache/apt "$root"/var/lib/apt/lists "$root"/usr/share/doc \
    "$root"/usr/share/man "$root"/usr/share/locale
mkdir -p "$root/var/cache/apt"
truncate -s 6G "$out/root.img"
mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 -d "$root" "$out/root.img"
