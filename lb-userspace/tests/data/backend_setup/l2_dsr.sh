# b1 (10.0.0.11:80) of web, mode l2-dsr
# It answers clients itself, as 203.0.113.10: its server must listen on 203.0.113.10:80/tcp.
# Probes ask it on 10.0.0.11:80.
dev=$(ip -o address show to 10.0.0.11 | awk '{ print $2; exit }')
: "${dev:?no interface of this host has 10.0.0.11}"
# It must not answer ARP for an address of lo, nor ask in its name.
sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
# Of rp_filter the larger of `all` and the interface counts; 2 is loose.
sysctl -w "net/ipv4/conf/$dev/rp_filter=2"
ip address replace 203.0.113.10/32 dev lo

# routed (10.9.0.12:80) of web, mode l2-dsr
# It is behind the router 10.0.0.254, which l2-dsr cannot cross: take `ipip` or `gue`.
# It answers clients itself, as 203.0.113.10: its server must listen on 203.0.113.10:80/tcp.
# Probes ask it on 10.9.0.12:80.
dev=$(ip -o address show to 10.9.0.12 | awk '{ print $2; exit }')
: "${dev:?no interface of this host has 10.9.0.12}"
# It must not answer ARP for an address of lo, nor ask in its name.
sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
# Of rp_filter the larger of `all` and the interface counts; 2 is loose.
sysctl -w "net/ipv4/conf/$dev/rp_filter=2"
ip address replace 203.0.113.10/32 dev lo

# b1 ([2001:db8:1::11]:53) of dns6, mode l2-dsr
# It answers clients itself, as 2001:db8:f::53: its server must listen on [2001:db8:f::53]:53/udp.
dev=$(ip -o address show to 2001:db8:1::11 | awk '{ print $2; exit }')
: "${dev:?no interface of this host has 2001:db8:1::11}"
ip -6 address replace 2001:db8:f::53/128 dev lo nodad
