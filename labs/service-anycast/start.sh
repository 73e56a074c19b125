#!/bin/sh
# The main process of a node: a web server, started again whenever it ends unless /run/www.stopped is there, and kroute.
while :; do
    [ -e /run/www.stopped ] || python3 /lab/www.py
    sleep 0.2
done &
exec sh /lab/start-kroute.sh
