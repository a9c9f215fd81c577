#!/bin/sh
# Creche in a minute: sets up what is missing, then shows the main job with a private daemon.
# Everything is below one temporary directory, and the last line counts what is left on the host.
set -eu
. "$(dirname "$0")/setup.sh"
[ "$(id -u)" = 0 ] || { echo "the demo needs root: run it with sudo" >&2; exit 1; }
need_packages python3-venv busybox-static libseccomp2
need_environment
exec "$python" "$here/contrib/demo.py"
