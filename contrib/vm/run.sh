#!/bin/sh
# Runs the tests in a virtual machine: pure cgroup v2, systemd as PID 1, Creche from its wheel.
# Arguments go to pytest: `sh contrib/vm/run.sh tests/system -k exec`. `--shell` instead boots the
# same machine with its console here (root, no password; the end: `poweroff`).
# The system is kept in $CRECHE_VM_CACHE (~/.cache/creche/vm); the last run's results in .cache/vm.
set -eu
. "$(dirname "$0")/../setup.sh"
[ "$(id -u)" = 0 ] || { echo "vm: debootstrap needs root: run it with sudo" >&2; exit 1; }
need_packages python3-venv debootstrap e2fsprogs qemu-system-x86
need_environment test
vm=$here/contrib/vm
cache=${CRECHE_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/creche/vm}
mkdir -p "$cache" "$here/.cache/vm"
# All that has to do with containers, and what only this machine has (tests/vm).
[ $# -gt 0 ] || set -- -v --durations=20 -m "not same_everywhere" \
    tests/system tests/conformance tests/attacks tests/vm

# part NAME COMMAND...: run a part of the lane, and say how long it took.
part() {
    name=$1 begun=$(date +%s)
    shift
    "$@"
    echo "vm: $name: $(($(date +%s) - begun)) s" >&2
}

# make_base DIRECTORY: aside, and then by one rename.
make_base() {
    rm -rf "$cache"/.base-*
    find "$cache" -maxdepth 1 -name 'base-*' -mtime +14 -exec rm -rf {} +
    mkdir "$cache/.base-new"
    sh "$vm/base.sh" "$cache/.base-new"
    mv "$cache/.base-new" "$1"
}

suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
key=$( (echo "$suite"; cat "$vm/packages.txt" "$vm/base.sh"; find "$vm/guest" -type f | sort |
    xargs cat) | sha256sum | cut -c 1-16)
base=$cache/base-$key
exec 8>"$here/.cache/vm/lock" 9>"$cache/lock"
flock 8 # one machine for each tree; whoever has the descriptor last holds it
flock 9
[ -e "$base" ] || part "base system" make_base "$base"
touch "$base"
flock -u 9
part "Creche's disk" sh "$vm/lane.sh" "$base" "$here/.cache/vm" "$@"
shell=
[ "$1" != --shell ] || shell=--shell
exec "$python" "$vm/boot.py" $shell "$base" "$here/.cache/vm"
