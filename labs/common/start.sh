#!/bin/sh
# The main process of a lab's kroute node, on network namespaces and in containers alike. It does what a DaemonSet
# does: gives the daemon a configuration that may change while it runs (copies, since the lab's own files are bound
# read-only), and starts it again whenever it ends. /run/kroute.pid names the daemon. $1: the folder of kroute.yaml and
# nodes.yaml if it is not /lab. While there is /run/stay-down, a daemon that has ended is not started again.
export NODE_NAME="${NODE_NAME:-$(hostname)}"
mkdir -p /etc/kroute /etc/cni/net.d # the latter is the container runtime's
cp "${1:-/lab}/kroute.yaml" "${1:-/lab}/nodes.yaml" /etc/kroute/
trap 'kill $(cat /run/kroute.pid); exit 0' TERM
while :; do
    kroute run --config /etc/kroute/kroute.yaml &
    echo $! >/run/kroute.pid
    wait $!
    echo "kroute ended with status $?; starting it again" >&2
    sleep 0.5
    while [ -e /run/stay-down ]; do sleep 0.2; done
done
