#!/bin/sh
# A node in two lives. First as kube-router leaves it: its conflist with the podCIDRs put in, its routes (protocol 17) to the
# other nodes, and GoBGP, the BGP library inside it, announcing the podCIDRs. Once /run/moved is there, GoBGP ends
# and the node is kroute's, with the configuration that kroute made of kube-router's.
i=$(hostname | tr -dc 0-9)
others=$(echo 1 2 3 | tr ' ' '\n' | grep -v "$i")
set -- $others
mkdir -p /etc/cni/net.d /run
cat >/etc/cni/net.d/10-kuberouter.conflist <<EOF
{ "cniVersion": "0.3.0", "name": "mynet",
  "plugins": [{ "name": "kubernetes", "type": "bridge", "bridge": "kube-bridge", "isDefaultGateway": true, "mtu": 1500,
                "ipam": { "type": "host-local",
                          "ranges": [[{ "subnet": "10.244.$i.0/24" }], [{ "subnet": "fd00:10:244:$i::/64" }]] } }] }
EOF
sed "s/@I@/$i/; s/@A@/$1/; s/@B@/$2/" /lab/gobgp.yml >/run/gobgp.yml
for other in $others; do # containerlab sets the addresses once this runs: until then the others are out of reach
    until ip route replace "10.244.$other.0/24" via "192.0.2.1$other" proto 17 2>/dev/null; do sleep 0.1; done
    until ip -6 route replace "fd00:10:244:$other::/64" via "2001:db8::1$other" proto 17 2>/dev/null; do sleep 0.1; done
done
gobgpd -t yaml -f /run/gobgp.yml &
until gobgp global rib add "10.244.$i.0/24" nexthop "192.0.2.1$i" 2>/dev/null; do sleep 0.1; done
gobgp global rib -a ipv6 add "fd00:10:244:$i::/64" nexthop "2001:db8::1$i"
until [ -e /run/moved ]; do sleep 0.1; done
kill -KILL $! # as a DaemonSet's pod goes when its grace period is over
wait
mkdir -p /run/kroute.lab
kroute check-config --from-kube-router /lab/kube-router.yaml |
    sed 's/kind: kubernetes/kind: static/' >/run/kroute.lab/kroute.yaml # the lab has no API server
cp /lab/nodes.yaml /run/kroute.lab/
exec sh /lab/start.sh /run/kroute.lab
