# Boots systemd as process 1 of namespaces of its own, until it is killed or its time
# is up. Needs root, overlayfs and cgroup2.
#
#   boot.sh [UNITS BINARY]
#
# UNITS becomes /etc/systemd/system, and BINARY /usr/bin/echoline. Without them there is no
# echoline.
#
# A booting systemd empties /tmp, among other things. So its root is an overlay: it
# reads the machine's files, and what it writes or removes stays in memory. It has its
# own /dev, and can write neither /sys nor /proc/sys. Outside, there is one more group
# in cgroup2 until the end.
set -eu
units=${1-} binary=${2-} stage=${3-start}
again=(bash "$0" "$units" "$binary")

case $stage in
start)
    exec unshare --mount "${again[@]}" mount
    ;;
mount)
    mount -t tmpfs tmpfs /mnt
    cd /mnt
    mkdir upper work root cgroup
    mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
    [ -z "$binary" ] || cp "$binary" root/usr/bin/echoline
    # No unit starts but those of the test, and journald.
    for wants in root/usr/lib/systemd/system/*.wants root/etc/systemd/system; do
        mount -t tmpfs tmpfs "$wants"
    done
    cd root/etc/systemd/system
    [ -z "$units" ] || cp "$units"/* .
    printf '[Unit]\nAllowIsolate=yes\nWants=systemd-journald.service\n' >test.target
    mkdir ../journald.conf.d
    printf '[Journal]\nStorage=volatile\nReadKMsg=no\n' >../journald.conf.d/test.conf
    # systemd takes the group that it starts in for the root.
    mount -t cgroup2 cgroup2 /mnt/cgroup
    group=/mnt/cgroup/echoline-test.$$
    mkdir "$group"
    echo $$ >"$group/cgroup.procs"
    timeout --signal=KILL 120 \
        unshare --pid --fork --kill-child --mount --cgroup --uts --ipc --net \
        "${again[@]}" boot || true
    echo $$ >/mnt/cgroup/cgroup.procs
    find "$group" -depth -type d -exec rmdir {} +
    ;;
boot)
    ip link set lo up
    cd /mnt/root
    mount -t proc proc proc
    mount --bind proc/sys proc/sys
    mount -o remount,bind,ro proc/sys
    mount -t sysfs -o ro sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs tmpfs run
    mount -t tmpfs tmpfs dev
    mount -t tmpfs tmpfs var/log
    cp -a /dev/{null,zero,full,random,urandom,tty} dev
    mkdir dev/pts dev/shm
    ln -s pts/ptmx dev/ptmx
    pivot_root . mnt
    umount --lazy /mnt
    # The machine's own files are out of reach from here on.
    test "$(stat --file-system --format=%T /)" = overlayfs
    exec env -i container=test /lib/systemd/systemd --unit=test.target --log-target=journal --show-status=0
    ;;
esac
