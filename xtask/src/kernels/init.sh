#!/bin/sh
# The guest's first process. It runs the steps in /xlb/steps, each a line `NAME SECONDS COMMAND`, and tells
# QEMU by the device isa-debug-exit that all of them succeeded. Anything else that ends the guest is a
# failure: QEMU exits with 0 where the kernel panics, reboots or is switched off.
export PATH=/bin HOME=/tmp XLB_BPF_DIR=/xlb XLB_BIN=/xlb/xlb RUST_BACKTRACE=0

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mkdir -p /run/netns /var/lib

echo "@kernel $(uname -r)"
failed=
while read -r module; do
    insmod "/modules/$module" || { echo "FAIL: module $module"; failed=yes; }
done </modules/order

while read -r name seconds command; do
    echo "@step $name"
    # shellcheck disable=SC2086
    timeout -s KILL "$seconds" $command </dev/null 2>&1 || { echo "FAIL: $name: exit $?"; failed=yes; }
done </xlb/steps

echo "@end${failed:+ failed}"
[ -n "$failed" ] || /xlb/succeed
poweroff -f
