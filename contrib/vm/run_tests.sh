#!/bin/sh
# In the guest: runs pytest with the arguments that came with the disk. What it prints goes to one
# port of the machine as it comes, what it found (as a tar) to another at the end.
set -u
ports=/dev/virtio-ports
results=/run/creche-results
exec >$ports/creche.output 2>&1
echo "$(uname -r), $(stat -f -c %T /sys/fs/cgroup), PID 1 is $(cat /proc/1/comm)"
mkdir $results
cd /opt/creche/checkout
# tests/vm is for this machine; an OCI runtime's start takes long here, so what has many of them is
# cancelled at its 1st, 42nd, 83rd ... step only (tests/cancel.py)
export CRECHE_VM=1 CRECHE_CANCEL_STRIDE=41
export HOME=/root PYTHONUNBUFFERED=1 XDG_CACHE_HOME=/opt/creche/cache
export PATH="/opt/creche/environment/bin:$PATH"
while IFS= read -r argument; do
    set -- "$@" "$argument"
done </opt/creche/arguments
code=0
# a file's tests by one process: its daemon is started once, and the system's service is one
python -m pytest -n 2 --dist loadfile -p no:cacheprovider -o faulthandler_timeout=120 \
    --junit-xml=$results/junit.xml "$@" || code=$?
echo $code >$results/exit-code
journalctl -q --no-pager -o short-monotonic >$results/journal.txt
tar -C $results -cf $ports/creche.results .
