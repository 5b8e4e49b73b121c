# b1 (10.0.0.11:8080) of web, mode nat
# Its answers must leave through the balancer, 10.0.0.1; nothing else must.
dev=$(ip -o address show to 10.0.0.11 | awk '{ print $2; exit }')
: "${dev:?no interface of this host has 10.0.0.11}"
ip route replace default via 10.0.0.1 dev "$dev" table 7080
ip rule delete from 10.0.0.11 ipproto tcp sport 8080 lookup 7080 2>/dev/null || true
ip rule add from 10.0.0.11 ipproto tcp sport 8080 lookup 7080
# Or everything does, where the balancer forwards what is not its own:
#ip route replace default via 10.0.0.1 dev "$dev"

# routed (10.9.0.12:8080) of web, mode nat
# Its answers must leave through the balancer, 10.0.0.1, which is behind the router
# 10.0.0.254: that router, not this host, must send them there.

# unroutable (192.0.2.13:8080) of web, mode nat
# Its answers must leave through the balancer, which has no route to it yet:
# ask again when it has.

# [2001:db8:1::53]:53 of dns6, mode nat
# Its answers must leave through the balancer, 2001:db8:1::1; nothing else must.
dev=$(ip -o address show to 2001:db8:1::53 | awk '{ print $2; exit }')
: "${dev:?no interface of this host has 2001:db8:1::53}"
ip -6 route replace default via 2001:db8:1::1 dev "$dev" table 7080
ip -6 rule delete ipproto udp sport 53 lookup 7080 2>/dev/null || true
ip -6 rule add ipproto udp sport 53 lookup 7080
# Or everything does, where the balancer forwards what is not its own:
#ip -6 route replace default via 2001:db8:1::1 dev "$dev"

# 10.0.0.11:9000-9009 of range, mode nat
# Its answers must leave through the balancer, 10.0.0.1; nothing else must.
dev=$(ip -o address show to 10.0.0.11 | awk '{ print $2; exit }')
: "${dev:?no interface of this host has 10.0.0.11}"
ip route replace default via 10.0.0.1 dev "$dev" table 7080
ip rule delete from 10.0.0.11 ipproto tcp sport 9000-9009 lookup 7080 2>/dev/null || true
ip rule add from 10.0.0.11 ipproto tcp sport 9000-9009 lookup 7080
# Or everything does, where the balancer forwards what is not its own:
#ip route replace default via 10.0.0.1 dev "$dev"

# 10.0.0.12 of all, mode nat
# Its answers must leave through the balancer, 10.0.0.1; nothing else must.
dev=$(ip -o address show to 10.0.0.12 | awk '{ print $2; exit }')
: "${dev:?no interface of this host has 10.0.0.12}"
ip route replace default via 10.0.0.1 dev "$dev" table 7080
ip rule delete from 10.0.0.12 ipproto udp lookup 7080 2>/dev/null || true
ip rule add from 10.0.0.12 ipproto udp lookup 7080
# Or everything does, where the balancer forwards what is not its own:
#ip route replace default via 10.0.0.1 dev "$dev"
