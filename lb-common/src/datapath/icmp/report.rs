//! An error about a packet: whose packet that was, and on to whom it concerns.

use super::{
    super::{
        Decision, Detour, Direction, Fate, Obstacle, Tables,
        flow::Asks,
        full_nat,
        moving::Turn,
        owner, rewrite,
        select::{self, Selector, Tuple},
        shared,
        to_backend::{self, FULL_NAT, GUE, IPIP, L2_DSR, NAT},
        to_client::{self, Exit},
        tunnel,
    },
    Quoted, unmatched,
};
use crate::{
    DropReason, PassReason,
    backend::{Backend, Mode, Tunnel},
    bits,
    checksum::Delta,
    directory::{self, POOL, VIP},
    flow::{Flow, FlowKey, Side},
    maps::Feature,
    route::Action,
    wire::{
        Eth, Ip, IpAddress, Ports,
        icmp::{Icmp, Kind},
        transport::UDP,
    },
};

/// An ICMP error.
pub(super) struct Report<'p, I> {
    pub(super) eth: &'p mut Eth,
    pub(super) ip: &'p mut I,
    pub(super) message: &'p mut Icmp,
    pub(super) quoted: Quoted<'p, I>,
    /// Bytes of the frame.
    pub(super) len: usize,
}

/// Who an error is from and for, and whose packet it quotes, after translation.
struct Ends<A> {
    source: A,
    destination: A,
    quoted_source: A,
    quoted_destination: A,
    quoted_ports: Ports,
}

const DIRECT: u32 = Action::Direct as u32;

impl<I: Ip> Report<'_, I> {
    /// Finds out whose packet it quotes, which must be from whom the error is for.
    #[inline(always)]
    pub(super) fn follow<T: Tables>(self, tables: &T) -> Fate<'_> {
        let addressee = self.ip.destination();
        if self.quoted.ip.source() != addressee {
            return Err(unmatched(self.ip, tables));
        }
        let (ports, protocol) = (*self.quoted.ports, self.quoted.protocol);
        let owner = owner(addressee, tables);
        if owner & VIP != 0
            && let Some(service) = select::service(addressee, ports.source, protocol, tables)
        {
            return self.towards_backend(service, tables);
        }
        if owner & POOL != 0
            && let Some(flow) = full_nat::asked(&self.reply_key(), tables)
        {
            return self.by_flow(&flow, tables);
        }
        if let Some(index) = self.tunnel(tables) {
            return Err(self.learn(index, tables).into());
        }
        let backend = self.quoted.ip.destination();
        match select::backend(backend, ports.destination, protocol, tables) {
            Some(pair) => self.towards_client(pair, tables),
            None => Err(unmatched(self.ip, tables)),
        }
    }

    /// What a reply to the quoted packet would be found by, of a flow that is remembered.
    #[inline(always)]
    fn reply_key(&self) -> FlowKey {
        self.turned_key(Side::Backend)
    }

    #[inline(always)]
    fn turned_key(&self, side: Side) -> FlowKey {
        FlowKey::new(
            side,
            self.quoted.ip.destination().to_table(),
            self.quoted.ip.source().to_table(),
            self.quoted.ports.reversed(),
            self.quoted.protocol,
        )
    }

    /// The path that the quoted packet took, if it is a tunnel's.
    #[inline(always)]
    fn tunnel<T: Tables>(&self, tables: &T) -> Option<u16> {
        if tables.modes() & (Mode::Ipip.bit() | Mode::Gue.bit()) == 0 {
            return None;
        }
        let kind = if self.is_gue() { UDP } else { 0 };
        let end = self.quoted.ip.destination();
        let key = end.key(directory::Kind::Tunnel, [0; 2], kind);
        let index = tables.find(&key, I::V6)?;
        Some(bits::low_word(bits::low_half(index)))
    }

    #[inline(always)]
    const fn is_gue(&self) -> bool {
        self.quoted.protocol == UDP
    }

    /// Takes note that a path's end takes nothing, or of its MTU: it gets smaller only, and not smaller than what Linux believes
    /// (`net.ipv4.route.min_pmtu`; RFC 8201, §4).
    #[inline(always)]
    fn learn<T: Tables>(&self, index: u16, tables: &T) -> DropReason {
        const LEAST: u32 = 552;
        const LEAST_V6: u32 = 1280;
        let path = tables.path(index);
        if self.message.about::<I>() == Kind::TooBig {
            let mode = if self.is_gue() { Mode::Gue } else { Mode::Ipip };
            let least = if I::V6 { LEAST_V6 } else { LEAST };
            let mtu = self.message.mtu::<I>().clamp(least, u16::MAX.into());
            let mtu = bits::low_word(mtu)
                - Tunnel::overhead(mode, I::V6, tables.uses(Feature::SecondChance));
            let known = path.mtu();
            if known == 0 || mtu < known {
                tables.set_path(index, path.learning(mtu, tables.clock()));
            }
        } else {
            tables.set_path(index, path.refusing());
        }
        DropReason::TunnelError
    }

    /// An error about what a backend sent, on its way there.
    #[inline(always)]
    fn towards_backend<T: Tables>(self, service: u64, tables: &T) -> Fate<'_> {
        to_backend::may_ask(self.ip.source(), tables)?;
        let (client, vip) = (self.quoted.ip.destination(), self.quoted.ip.source());
        let (ports, protocol) = (self.quoted.ports.reversed(), self.quoted.protocol);
        let tuple = Tuple {
            client,
            vip,
            ports,
            protocol,
        };
        let (flow, hash) = tuple.hashes(service, tables);
        let selector = Selector {
            hash,
            flow,
            transport: None,
            turn: Turn::Ask,
            program: Detour::icmp::<I>(),
        };
        let pair = select::owner(&selector, service, tables)?.pair;
        let backend = tables.backend(pair).ok_or(DropReason::TableError)?;
        if full_nat::is_used(tables) && tables.mode(backend) == FULL_NAT {
            let key = self.turned_key(Side::Client);
            let flow = full_nat::asked(&key, tables).ok_or(DropReason::IcmpUnmatched)?;
            let backend = tables.backend(flow.pair).ok_or(DropReason::TableError)?;
            return self.nat(&Self::of_flow(&flow), flow.pair, backend, tables);
        }
        if shared::is(backend, tables) {
            let asks = Asks {
                client,
                vip,
                ports,
                protocol,
                marks: 0,
            };
            let (pair, backend, _) = shared::choose(&asks, None, pair, hash, service, tables)?;
            return self.deliver(hash, pair, backend, tables);
        }
        self.deliver(flow, pair, backend, tables)
    }

    #[inline(always)]
    fn deliver<'t, T: Tables>(
        self,
        hash: u64,
        pair: u32,
        backend: &'t Backend,
        tables: &'t T,
    ) -> Fate<'t> {
        let mode = tables.mode(backend);
        let decision = match mode {
            NAT => return self.towards_nat(pair, backend, tables),
            L2_DSR => {
                to_backend::may_go(self.ip, mode, backend, tables).map_err(Obstacle::quiet)?;
                rewrite::leave_by(self.eth, backend.next_hop, tables);
                self.ip.spend_hop(Delta::NONE);
                rewrite::emit(backend.next_hop.ifindex(), tables).into()
            }
            IPIP | GUE => {
                to_backend::may_go(self.ip, mode, backend, tables).map_err(Obstacle::quiet)?;
                let entropy = tunnel::entropy(hash);
                Decision::Encapsulate(tunnel::Inner::of_ip(self.ip, backend, entropy))
            }
            _ => return Err(DropReason::ModeUnknown.into()),
        };
        tables.count(pair, Direction::Forward, self.len);
        Ok(decision)
    }

    #[inline(always)]
    fn towards_nat<'t, T: Tables>(self, pair: u32, backend: &Backend, tables: &T) -> Fate<'t> {
        let address = I::Address::from_table(&backend.address);
        let Ports {
            source,
            destination,
        } = *self.quoted.ports;
        let ends = Ends {
            source: self.ip.source(),
            destination: address,
            quoted_source: address,
            quoted_destination: self.quoted.ip.destination(),
            quoted_ports: Ports {
                source: backend.port_for(source),
                destination,
            },
        };
        self.nat(&ends, pair, backend, tables)
    }

    /// What a remembered flow makes of an error: as of one of its packets, the quoted one turned round.
    #[inline(always)]
    fn of_flow(flow: &Flow) -> Ends<I::Address> {
        let source = I::Address::from_table(&flow.source);
        let destination = I::Address::from_table(&flow.destination);
        Ends {
            source,
            destination,
            quoted_source: destination,
            quoted_destination: source,
            quoted_ports: flow.ports().reversed(),
        }
    }

    #[inline(always)]
    fn nat<'t, T: Tables>(
        mut self,
        ends: &Ends<I::Address>,
        pair: u32,
        backend: &Backend,
        tables: &T,
    ) -> Fate<'t> {
        to_backend::may_go(self.ip, NAT, backend, tables).map_err(Obstacle::quiet)?;
        let ifindex = backend.next_hop.ifindex();
        let link = rewrite::link(backend.next_hop, tables);
        tables.count(pair, Direction::Forward, self.len);
        self.translate(ends, Exit::Link { link, ifindex });
        Ok(rewrite::emit(ifindex, tables).into())
    }

    /// An error about what a client's packet became for a NAT backend, on its way to the client.
    #[inline(always)]
    fn towards_client<T: Tables>(self, pair: u32, tables: &T) -> Fate<'_> {
        let client = self.ip.destination();
        to_client::is_client(client, tables)?;
        let (action, _) = to_client::route(client, tables);
        if action == DIRECT {
            return Err(PassReason::Direct.into());
        }
        let backend = tables.backend(pair).ok_or(DropReason::TableError)?;
        let (pair, backend) = if shared::is(backend, tables) {
            shared::answering(&self.reply_key(), None, pair, backend, tables)?
        } else {
            (pair, backend)
        };
        let vip = I::Address::from_table(&backend.vip);
        let Ports {
            source,
            destination,
        } = *self.quoted.ports;
        let ends = Ends {
            source: vip,
            destination: client,
            quoted_source: client,
            quoted_destination: vip,
            quoted_ports: Ports {
                source,
                destination: backend.vip_port_for(destination),
            },
        };
        self.back(&ends, pair, backend, tables)
    }

    /// An error about what a client's packet became under full NAT.
    #[inline(always)]
    fn by_flow<'t, T: Tables>(self, flow: &Flow, tables: &'t T) -> Fate<'t> {
        let backend = tables.backend(flow.pair).ok_or(DropReason::TableError)?;
        self.back(&Self::of_flow(flow), flow.pair, backend, tables)
    }

    #[inline(always)]
    fn back<'t, T: Tables>(
        mut self,
        ends: &Ends<I::Address>,
        pair: u32,
        backend: &Backend,
        tables: &T,
    ) -> Fate<'t> {
        self.is_genuine(backend, tables)?;
        to_backend::may_ask(self.ip.source(), tables)?;
        to_client::may_go(self.ip).map_err(Obstacle::quiet)?;
        let route = to_client::route(ends.destination, tables);
        let exit = to_client::exit(self.ip, ends.source, ends.destination, route, tables);
        let exit = exit.map_err(Obstacle::quiet)?;
        tables.count(pair, Direction::Return, self.len);
        self.translate(ends, exit);
        Ok(to_client::leaves(exit, tables))
    }

    /// A backend's own error is as its other packets; a router's comes in where backends are.
    #[inline(always)]
    fn is_genuine<T: Tables>(&self, backend: &Backend, tables: &T) -> Result<(), DropReason> {
        if self.ip.source() == I::Address::from_table(&backend.address) {
            return to_client::is_genuine(self.eth, backend, tables);
        }
        if tables.interface().from_backends() {
            Ok(())
        } else {
            Err(DropReason::ForgedBackend)
        }
    }

    /// Gives the error and what it quotes other ends.
    #[inline(always)]
    fn translate(&mut self, ends: &Ends<I::Address>, exit: Exit) {
        let quoted = self.quoted.turn(
            ends.quoted_source,
            ends.quoted_destination,
            ends.quoted_ports,
        );
        let outer = rewrite::readdress(self.ip, ends.source, ends.destination);
        rewrite::leave(self.eth, self.ip, outer, exit);
        // The pseudo-header of ICMPv6 has the addresses, ICMP has none.
        let covered = if I::V6 { quoted.and(outer) } else { quoted };
        self.message.update_checksum(covered);
    }
}
