# What the demo and the tests need: Debian packages that are missing, and an environment with
# Creche in it. Sourced by the other scripts; sets $python and puts the environment first in PATH.

here=$(cd "$(dirname "$0")" && pwd)
while [ ! -e "$here/pyproject.toml" ]; do
    here=$(dirname "$here")
done

need_packages() {
    missing=
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing="$missing $package"
    done
    [ -z "$missing" ] && return
    echo "installing:$missing" >&2
    # policy-rc.d keeps the services of these packages from starting
    policy=/usr/sbin/policy-rc.d
    [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && made=$policy; }
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
    [ -z "${made:-}" ] || rm -f "$made"
}

# The interpreter: $CRECHE_PYTHON, else the distribution's, else the first in PATH that is new
# enough. The distribution's comes before others because it is built with profile-guided
# optimization: one that was built without takes up to twice the time for everything.
find_python() {
    for found in ${CRECHE_PYTHON:-/usr/bin/python3 python3}; do
        "$found" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
            2>/dev/null && return
    done
    echo "Python 3.11 or newer with venv is needed" >&2
    exit 1
}

# need_environment [EXTRA]: $here/.venv, made anew when pyproject.toml has changed. What an earlier
# call has put into it stays.
need_environment() {
    find_python
    made="$here/.venv/.made-from-$( ("$found" -V && cat "$here/pyproject.toml") |
        cksum | tr -d ' ')"
    if [ ! -e "$made" ]; then
        rm -rf "$here/.venv"
        "$found" -m venv "$here/.venv"
        install_here ""
        "$here/.venv/bin/python" -c 'import supervisor.daemon'
        touch "$made"
    fi
    if [ $# -gt 0 ] && [ ! -e "$made-$1" ]; then
        install_here "[$1]"
        touch "$made-$1"
    fi
    PATH="$here/.venv/bin:$PATH"
    python="$here/.venv/bin/python"
    export PATH
}

# install_here EXTRAS; only errors are shown
install_here() {
    "$here/.venv/bin/pip" install -qq --disable-pip-version-check -e "$here$1"
}
