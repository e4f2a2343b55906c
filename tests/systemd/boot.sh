# The first process of fresh namespaces: prepares a machine of its own and becomes its systemd.
# $1: a directory of the test, $2: the program under test. Both appear below /run/host.
set -e
# Before anything else: nothing here may reach the real machine's mounts or its /tmp.
mount --make-rprivate /
mount -t tmpfs -o mode=1777 tmpfs /tmp

hold=/tmp/hold
mkdir $hold
mount -t tmpfs tmpfs $hold
mkdir $hold/run $hold/run/host $hold/run/host/test $hold/run/etc $hold/run/lock
: > $hold/run/host/atm
mount --bind "$1" $hold/run/host/test
mount --bind "$2" $hold/run/host/atm
cp -a /etc/. $hold/run/etc
mount --rbind $hold/run /run
mount --bind /run/etc /etc
umount -l $hold
rmdir $hold

# Devices and kernel settings are the real machine's too: nothing in here makes or sets any.
mkdir $hold
mount -t tmpfs -o mode=755 tmpfs $hold
for node in null zero full random urandom tty; do
    : > $hold/$node
    mount --bind /dev/$node $hold/$node
done
mkdir $hold/pts $hold/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts $hold/pts
mount -t tmpfs -o mode=1777 tmpfs $hold/shm
ln -s pts/ptmx $hold/ptmx
ln -s /proc/self/fd $hold/fd
mount --rbind $hold /dev
umount -l $hold
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -o remount,bind,ro /sys

mount -o remount,bind,ro /
for at in /var/tmp /var/log /var/lib /usr/local /home /root; do
    mount -t tmpfs -o mode=755 tmpfs $at
done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /usr/local/bin /usr/local/lib /var/lib/systemd /run/systemd/system /run/user

# What a unit pulls in by default acts on the machine (sysctl, tmpfiles, remounts): it is not to be had here, and
# the units under test do without.
ln -s /dev/null /run/systemd/system/sysinit.target
ln -s /dev/null /run/systemd/system/basic.target
for unit in atm.service atm.socket; do
    mkdir /run/systemd/system/$unit.d
    printf '[Unit]\nDefaultDependencies=no\nConflicts=shutdown.target\nBefore=shutdown.target\n' \
        > /run/systemd/system/$unit.d/machine.conf
done
cat > /run/systemd/system/machine.target <<UNIT
[Unit]
DefaultDependencies=no
Requires=systemd-journald.service
After=systemd-journald.service
UNIT
mkdir -p /etc/systemd/journald.conf.d
cat > /etc/systemd/journald.conf.d/test.conf <<CONF
[Journal]
Storage=volatile
ReadKMsg=no
Audit=no
ForwardToSyslog=no
ForwardToWall=no
RuntimeMaxUse=64M
# A flood is the test's own wish.
RateLimitIntervalSec=0
CONF
exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=machine.target --log-target=null --show-status=no
