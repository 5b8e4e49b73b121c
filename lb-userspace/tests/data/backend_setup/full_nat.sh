# b1 (10.0.0.11:8080) of web, mode full-nat
# Packets come from 10.0.0.1.
# Nothing is to be done here.

# routed (10.9.0.12:8080) of web, mode full-nat
# Packets come from 10.0.0.1.
# Nothing is to be done here.

# b1 (10.0.0.11:8080) of pool, mode full-nat
# Packets come from 10.0.0.1, 192.0.2.1, 192.0.2.2.
# Not all of that is on the balancer's link: answers go through the balancer.
dev=$(ip -o address show to 10.0.0.11 | awk '{ print $2; exit }')
: "${dev:?no interface of this host has 10.0.0.11}"
ip route replace 192.0.2.1/32 via 10.0.0.1 dev "$dev"
ip route replace 192.0.2.2/32 via 10.0.0.1 dev "$dev"

# routed (10.9.0.12:8080) of pool, mode full-nat
# Packets come from 10.0.0.1, 192.0.2.1, 192.0.2.2.
# Nothing is to be done here; routers must lead there to the balancer.

# b1 ([2001:db8:1::11]:8080) of web6, mode full-nat
# Packets come from 2001:db8:2::1.
# Not all of that is on the balancer's link: answers go through the balancer.
dev=$(ip -o address show to 2001:db8:1::11 | awk '{ print $2; exit }')
: "${dev:?no interface of this host has 2001:db8:1::11}"
ip -6 route replace 2001:db8:2::1/128 via 2001:db8:1::1 dev "$dev"
