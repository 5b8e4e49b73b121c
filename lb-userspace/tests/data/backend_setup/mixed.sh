# b1 (10.0.0.11:8080) of web, mode nat
# Its answers must leave through the balancer, 10.0.0.1; nothing else must.
dev=$(ip -o address show to 10.0.0.11 | awk '{ print $2; exit }')
: "${dev:?no interface of this host has 10.0.0.11}"
ip route replace default via 10.0.0.1 dev "$dev" table 7080
ip rule delete from 10.0.0.11 ipproto tcp sport 8080 lookup 7080 2>/dev/null || true
ip rule add from 10.0.0.11 ipproto tcp sport 8080 lookup 7080
# Or everything does, where the balancer forwards what is not its own:
#ip route replace default via 10.0.0.1 dev "$dev"

# b2 (10.0.0.12:80) of web, mode ipip
# It answers clients itself, as 203.0.113.10: its server must listen on 203.0.113.10:80/tcp.
# Probes ask it on 10.0.0.12:80.
dev=$(ip -o address show to 10.0.0.12 | awk '{ print $2; exit }')
: "${dev:?no interface of this host has 10.0.0.12}"
# It must not answer ARP for an address of lo, nor ask in its name.
sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
# Of rp_filter the larger of `all` and the interface counts; 2 is loose.
sysctl -w "net/ipv4/conf/$dev/rp_filter=2"
ip address replace 203.0.113.10/32 dev lo
# Packets out of their tunnel, in XDP; called again, it follows the rules given last.
xlb decap --interface "$dev" --vip 203.0.113.10 --source 10.0.0.1/32
# Or by a device of the kernel, which takes packets for any address from anybody:
#modprobe ipip
#ip link add xlb-ipip type ipip local 10.0.0.12
#sysctl -w "net/ipv4/conf/xlb-ipip/rp_filter=2"
#ip link set xlb-ipip up
# Of 1500 bytes on the balancer's link the tunnel takes 20: segments of 1440 are left.
ip -4 route show default | sed 's/ advmss [0-9]*//' | while read -r route; do ip -4 route change $route advmss 1440; done

# b3 (10.0.0.13:8080) of web, mode full-nat
# Packets come from 10.0.0.1.
# Nothing is to be done here.
