#!/bin/sh
# Make the disk with Creche and its tests: lane.sh BASE DIRECTORY [PYTEST-ARGUMENT...]
# BASE is what base.sh made. Leaves DIRECTORY/lane.img.
set -eu
unset PYTHONDONTWRITEBYTECODE # the guest is to find all of it compiled
here=$(cd "$(dirname "$0")/../.." && pwd)
base=$1
work=$2/work
image=$2/lane.img
shift 2
rm -rf "$work"
mkdir -p "$work/source" "$work/lane/wheels" "$work/lane/checkout" "$work/lane/cache/creche"

# from a copy: a build directory in the tree would put files of yesterday into the wheel
cp -r "$here/pyproject.toml" "$here/README.md" "$here/LICENSE" "$here/drivers" "$here/supervisor" \
    "$work/source"
# by the distribution's Python: the guest has the same
/usr/bin/python3 -m venv "$work/builder"
"$work/builder/bin/pip" wheel -qq --disable-pip-version-check -w "$work/lane/wheels" \
    "$work/source[test]"
# in a mount namespace of its own, which ends with the command
unshare -m sh -euc '
    mount --bind "$1/lane" "$2/root/opt/creche"
    chroot "$2/root" python3 -m venv /opt/creche/environment
    chroot "$2/root" /opt/creche/environment/bin/pip install -qq --no-index \
        --disable-pip-version-check --find-links /opt/creche/wheels "creche[test]"
' - "$work" "$base"
rm -rf "$work/lane/wheels"
for part in tests contrib units pyproject.toml; do
    cp -r "$here/$part" "$work/lane/checkout"
done
find "$work/lane/checkout" -name __pycache__ -prune -exec rm -rf {} +
# compiles the tests, as pytest does it: here in a second, in the guest in a minute
unshare -m sh -euc '
    mount --bind "$1/lane" "$2/root/opt/creche"
    mount -t proc proc "$2/root/proc"
    mount --rbind /sys "$2/root/sys"
    cd "$2/root"
    chroot . sh -euc "cd /opt/creche/checkout
        CRECHE_VM=1 exec /opt/creche/environment/bin/python -m pytest -q -p no:cacheprovider --collect-only"
' - "$work" "$base" >"$work/log" || { cat "$work/log" >&2; exit 1; }
cp "$here/contrib/vm/run_tests.sh" "$work/lane"
printf '%s\n' "$@" >"$work/lane/arguments"
archive=${XDG_CACHE_HOME:-$HOME/.cache}/creche/debian-redis.tar
[ -e "$archive" ] || {
    mkdir -p "$(dirname "$archive")"
    sh "$here/contrib/debian_rootfs.sh" "$archive" redis-server
}
cp "$archive" "$work/lane/cache/creche"
rm -f "$image"
truncate -s 3G "$image"
mkfs.ext4 -q -F -L creche-lane -E lazy_itable_init=1,lazy_journal_init=1 -d "$work/lane" "$image"
rm -rf "$work"
