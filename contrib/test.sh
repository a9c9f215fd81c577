#!/bin/sh
# Sets up what is missing, then runs every check: lint, types, import contracts, tests here, tests
# in a virtual machine with cgroup v2.
# Arguments go to pytest: `sh contrib/test.sh tests/unit -k restart`.
set -eu
. "$(dirname "$0")/setup.sh"
need_packages python3-venv procps busybox-static docker.io runc crun supervisor debootstrap gcc \
    libc6-dev binutils-aarch64-linux-gnu libseccomp2 tini uidmap golang-github-containers-common
need_environment test
cd "$here"
if [ $# -eq 0 ]; then
    ruff check .
    ruff format --check .
    mypy
    lint-imports
fi
begun=$(date +%s)
"$python" -m pytest "$@"
[ $# -eq 0 ] || exit 0
echo "tests on this host: $(($(date +%s) - begun)) s" >&2
exec sh contrib/vm/run.sh
