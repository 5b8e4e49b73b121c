# b1 (10.0.0.11:80) of v4_in_v4, mode gue
# It answers clients itself, as 203.0.113.10: its server must listen on 203.0.113.10:80/tcp.
# Probes ask it on 10.0.0.11:80.
dev=$(ip -o address show to 10.0.0.11 | awk '{ print $2; exit }')
: "${dev:?no interface of this host has 10.0.0.11}"
# It must not answer ARP for an address of lo, nor ask in its name.
sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
# Of rp_filter the larger of `all` and the interface counts; 2 is loose.
sysctl -w "net/ipv4/conf/$dev/rp_filter=2"
ip address replace 203.0.113.10/32 dev lo
# Packets out of their tunnel, in XDP; called again, it follows the rules given last.
xlb decap --interface "$dev" --vip 203.0.113.10 --source 10.0.0.1/32
# Connections that it does not know it forwards, to the backend that the tunnel's header names.
sysctl -w "net/ipv4/conf/$dev/forwarding=1"
sysctl -w net.ipv4.conf.all.send_redirects=0 "net/ipv4/conf/$dev/send_redirects=0"
# Or by a device of the kernel, which takes packets for any address from anybody, and hands none over:
#modprobe ipip
#modprobe fou
#ip fou add port 6080 gue
#ip link add xlb-ipip type ipip local 10.0.0.11
#sysctl -w "net/ipv4/conf/xlb-ipip/rp_filter=2"
#ip link set xlb-ipip up
# Of 1500 bytes on the balancer's link the tunnel takes 40: segments of 1420 are left.
ip -4 route show default | sed 's/ advmss [0-9]*//' | while read -r route; do ip -4 route change $route advmss 1420; done

# b1 ([2001:db8:1::11]:80) of v4_in_v6, mode gue
# It answers clients itself, as 203.0.113.11: its server must listen on 203.0.113.11:80/tcp.
# Probes ask it on [2001:db8:1::11]:80.
dev=$(ip -o address show to 2001:db8:1::11 | awk '{ print $2; exit }')
: "${dev:?no interface of this host has 2001:db8:1::11}"
# It must not answer ARP for an address of lo, nor ask in its name.
sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
# Of rp_filter the larger of `all` and the interface counts; 2 is loose.
sysctl -w "net/ipv4/conf/$dev/rp_filter=2"
ip address replace 203.0.113.11/32 dev lo
# Packets out of their tunnel, in XDP; called again, it follows the rules given last.
xlb decap --interface "$dev" --vip 203.0.113.11 --source 2001:db8:1::1/128
# Connections that it does not know it forwards, to the backend that the tunnel's header names.
sysctl -w net.ipv6.conf.all.forwarding=1
# A host that forwards heeds no router advertisement, unless $dev has accept_ra=2.
# Or by a device of the kernel, which takes packets for any address from anybody, and hands none over:
#modprobe ip6_tunnel
#modprobe fou6
#ip -6 fou add port 6080 gue
#ip -6 link add xlb-ip6tnl type ip6tnl mode any local 2001:db8:1::11
#sysctl -w "net/ipv4/conf/xlb-ip6tnl/rp_filter=2"
#ip link set xlb-ip6tnl up
# Of 1500 bytes on the balancer's link the tunnel takes 72: segments of 1388 are left.
ip -4 route show default | sed 's/ advmss [0-9]*//' | while read -r route; do ip -4 route change $route advmss 1388; done
