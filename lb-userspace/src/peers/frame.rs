//! What balancers say to each other, as bytes.
//!
//! A frame is a kind and a body, numbers in network byte order; lists are prefixed by their length, 16 bits,
//! and bounded. Who speaks another version is told apart before the first frame ([`super::secure`]).
//!
//! News is told in *batches*: tables, owners, rows and flows in any number of frames, and a [`Frame::Mark`]
//! behind them. Rows and flows name owners by their place among those of the batch.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::news::{FlowNews, Owner, RowNews, TableNews};
use crate::config::model::{PortRange, Ports, Protocol, Vip};

/// Version of all of this.
pub(super) const VERSION: u8 = 1;

/// Bytes of the longest frame.
pub(super) const MAX_BYTES: usize = 32 * 1024;

/// Items that a list may have.
pub(super) const MAX_ITEMS: usize = 512;

/// Bytes of the longest name.
const MAX_NAME: usize = 64;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first of either side.
    Hello {
        /// Where the speaker listens: who it is.
        listen: SocketAddr,
        /// Tells balancers with another `hash_seed` apart.
        seed: u64,
        /// Its instance, to be shown.
        name: String,
    },
    /// Slot tables.
    Tables(Vec<TableNews>),
    /// Backends that rows and flows of this batch name.
    Owners(Vec<Owner>),
    /// Moving rows.
    Rows(Vec<RowNews>),
    /// Tracked flows.
    Flows(Vec<FlowNews>),
    /// The end of a batch.
    Mark {
        /// Its number: one more than that of the batch before.
        sequence: u64,
        /// Whether all slot tables are in it.
        tables: bool,
        /// Whether it completes the answer to [`Frame::Want`].
        completes: bool,
    },
    /// The other way: everything up to this mark was taken over.
    Seen {
        /// The mark's number.
        sequence: u64,
    },
    /// The other way: asks for everything that is known, and for news from then on.
    Want,
}

/// What is wrong with bytes that should be a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends too early.
    #[error("a frame ends within a field")]
    Short,
    /// Something follows.
    #[error("{0} bytes follow a frame")]
    Long(usize),
    /// A kind that this version does not know.
    #[error("a frame is of the unknown kind {0}")]
    Kind(u8),
    /// A field has a value that it cannot have.
    #[error("a frame's {0} is none")]
    Value(&'static str),
    /// A list is too long.
    #[error("a frame has {0} items, expected at most {MAX_ITEMS}")]
    Items(usize),
}

const HELLO: u8 = 1;
const TABLES: u8 = 2;
const OWNERS: u8 = 3;
const ROWS: u8 = 4;
const FLOWS: u8 = 5;
const MARK: u8 = 6;
const SEEN: u8 = 7;
const WANT: u8 = 8;

impl Frame {
    /// Its bytes. Names are cut to what fits, lists to [`MAX_ITEMS`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        match self {
            Self::Hello { listen, seed, name } => {
                out.push(HELLO);
                put_address(&mut out, *listen);
                out.extend(seed.to_be_bytes());
                let name = name.get(..name.floor_char_boundary(MAX_NAME)).unwrap_or("");
                out.push(u8::try_from(name.len()).unwrap_or(0));
                out.extend(name.as_bytes());
            }
            Self::Tables(tables) => put_list(&mut out, TABLES, tables, put_table),
            Self::Owners(owners) => put_list(&mut out, OWNERS, owners, |out, owner| {
                put_vip(out, owner.vip);
                put_address(out, owner.address);
            }),
            Self::Rows(rows) => put_list(&mut out, ROWS, rows, put_row),
            Self::Flows(flows) => put_list(&mut out, FLOWS, flows, put_flow),
            Self::Mark {
                sequence,
                tables,
                completes,
            } => {
                out.push(MARK);
                out.extend(sequence.to_be_bytes());
                out.push(u8::from(*tables) | u8::from(*completes) << 1);
            }
            Self::Seen { sequence } => {
                out.push(SEEN);
                out.extend(sequence.to_be_bytes());
            }
            Self::Want => out.push(WANT),
        }
        out
    }

    /// The frame that these bytes are, all of them.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        let frame = reader.frame()?;
        match reader.0.len() {
            0 => Ok(frame),
            rest => Err(Malformed::Long(rest)),
        }
    }
}

fn put_list<T>(out: &mut Vec<u8>, kind: u8, items: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    let items = items.get(..items.len().min(MAX_ITEMS)).unwrap_or_default();
    out.push(kind);
    out.extend(u16::try_from(items.len()).unwrap_or(0).to_be_bytes());
    for item in items {
        put(out, item);
    }
}

fn put_address(out: &mut Vec<u8>, address: SocketAddr) {
    put_ip(out, address.ip());
    out.extend(address.port().to_be_bytes());
}

fn put_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(v4) => {
            out.push(4);
            out.extend(v4.octets());
        }
        IpAddr::V6(v6) => {
            out.push(6);
            out.extend(v6.octets());
        }
    }
}

fn put_vip(out: &mut Vec<u8>, vip: Vip) {
    put_ip(out, vip.address);
    out.extend(vip.ports.first().to_be_bytes());
    out.extend(vip.ports.last().to_be_bytes());
    out.push(vip.protocol.number());
}

fn put_table(out: &mut Vec<u8>, table: &TableNews) {
    put_vip(out, table.vip);
    out.extend(table.slots.to_be_bytes());
    out.extend(table.checksum.to_be_bytes());
}

fn put_row(out: &mut Vec<u8>, row: &RowNews) {
    out.extend(row.owner.to_be_bytes());
    out.extend(row.slot.to_be_bytes());
    out.push(row.log2_slots);
    out.extend(row.quiet.to_be_bytes());
    out.extend(row.age.to_be_bytes());
}

fn put_flow(out: &mut Vec<u8>, flow: &FlowNews) {
    out.extend(flow.owner.to_be_bytes());
    out.extend(flow.hash.to_be_bytes());
    out.extend(flow.age.to_be_bytes());
    out.push(u8::from(flow.closing));
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn frame(&mut self) -> Result<Frame, Malformed> {
        Ok(match self.byte()? {
            HELLO => Frame::Hello {
                listen: self.address()?,
                seed: self.u64()?,
                name: self.name()?,
            },
            TABLES => Frame::Tables(self.list(Self::table)?),
            OWNERS => Frame::Owners(self.list(|reader| {
                Ok(Owner {
                    vip: reader.vip()?,
                    address: reader.address()?,
                })
            })?),
            ROWS => Frame::Rows(self.list(Self::row)?),
            FLOWS => Frame::Flows(self.list(Self::flow)?),
            MARK => {
                let (sequence, flags) = (self.u64()?, self.byte()?);
                if flags > 3 {
                    return Err(Malformed::Value("flags of a mark"));
                }
                Frame::Mark {
                    sequence,
                    tables: flags & 1 != 0,
                    completes: flags & 2 != 0,
                }
            }
            SEEN => Frame::Seen {
                sequence: self.u64()?,
            },
            WANT => Frame::Want,
            kind => return Err(Malformed::Kind(kind)),
        })
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    fn flag(&mut self, what: &'static str) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Value(what)),
        }
    }

    fn list<T>(
        &mut self,
        read: impl Fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let items = usize::from(self.u16()?);
        if items > MAX_ITEMS {
            return Err(Malformed::Items(items));
        }
        (0..items).map(|_| read(self)).collect()
    }

    fn name(&mut self) -> Result<String, Malformed> {
        let length = usize::from(self.byte()?);
        let name = str::from_utf8(self.bytes(length)?).ok();
        let is_good = |name: &&str| name.len() <= MAX_NAME && !name.contains(char::is_control);
        let name = name.filter(is_good).ok_or(Malformed::Value("name"))?;
        Ok(name.to_owned())
    }

    fn ip(&mut self) -> Result<IpAddr, Malformed> {
        match self.byte()? {
            4 => Ok(Ipv4Addr::from(self.array::<4>()?).into()),
            6 => Ok(Ipv6Addr::from(self.array::<16>()?).into()),
            _ => Err(Malformed::Value("address family")),
        }
    }

    fn address(&mut self) -> Result<SocketAddr, Malformed> {
        Ok(SocketAddr::new(self.ip()?, self.u16()?))
    }

    fn vip(&mut self) -> Result<Vip, Malformed> {
        let address = self.ip()?;
        let ports = match (self.u16()?, self.u16()?) {
            (0, u16::MAX) => Ports::All,
            (first, last) if first == 0 || first > last => return Err(Malformed::Value("ports")),
            (first, last) if first == last => Ports::One(first),
            (first, last) => Ports::Range(PortRange { first, last }),
        };
        let number = self.byte()?;
        let known = [Protocol::Tcp, Protocol::Udp];
        let protocol = known.into_iter().find(|known| known.number() == number);
        Ok(Vip {
            address,
            ports,
            protocol: protocol.ok_or(Malformed::Value("protocol"))?,
        })
    }

    fn table(&mut self) -> Result<TableNews, Malformed> {
        Ok(TableNews {
            vip: self.vip()?,
            slots: self.u32()?,
            checksum: self.u64()?,
        })
    }

    fn row(&mut self) -> Result<RowNews, Malformed> {
        let row = RowNews {
            owner: self.u32()?,
            slot: self.u32()?,
            log2_slots: self.byte()?,
            quiet: self.u16()?,
            age: self.u16()?,
        };
        let is_within = row.log2_slots < 32 && row.slot >> row.log2_slots == 0;
        is_within.then_some(row).ok_or(Malformed::Value("slot"))
    }

    fn flow(&mut self) -> Result<FlowNews, Malformed> {
        Ok(FlowNews {
            owner: self.u32()?,
            hash: self.u64()?,
            age: self.u16()?,
            closing: self.flag("closing")?,
        })
    }
}

/// The longest list item is an owner: two IPv6 addresses, four ports, two families and a protocol.
const _: () = assert!(3 + MAX_ITEMS * (2 * 17 + 2 * 2 + 1 + 2) <= MAX_BYTES);

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn vips() -> impl Strategy<Value = Vip> {
        let ports = prop_oneof![
            (1..=u16::MAX).prop_map(Ports::One),
            (1..1000u16, 1..1000u16).prop_map(|(first, more)| Ports::Range(PortRange {
                first,
                last: first + more
            })),
            Just(Ports::All),
        ];
        let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
        (any::<IpAddr>(), ports, protocol).prop_map(|(address, ports, protocol)| Vip {
            address,
            ports,
            protocol,
        })
    }

    fn addresses() -> impl Strategy<Value = SocketAddr> {
        (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
    }

    fn rows() -> impl Strategy<Value = RowNews> {
        let slot = (0..32u8).prop_flat_map(|log2| (Just(log2), 0..1u32 << log2));
        let rest = (any::<u32>(), any::<u16>(), any::<u16>());
        (slot, rest).prop_map(|((log2_slots, slot), (owner, quiet, age))| RowNews {
            owner,
            slot,
            log2_slots,
            quiet,
            age,
        })
    }

    fn frames() -> impl Strategy<Value = Frame> {
        let table =
            (vips(), any::<u32>(), any::<u64>()).prop_map(|(vip, slots, checksum)| TableNews {
                vip,
                slots,
                checksum,
            });
        let owner = (vips(), addresses()).prop_map(|(vip, address)| Owner { vip, address });
        let flow = (any::<u32>(), any::<u64>(), any::<u16>(), any::<bool>()).prop_map(
            |(owner, hash, age, closing)| FlowNews {
                owner,
                hash,
                age,
                closing,
            },
        );
        prop_oneof![
            (addresses(), any::<u64>(), "[a-z0-9-]{0,64}")
                .prop_map(|(listen, seed, name)| Frame::Hello { listen, seed, name }),
            vec(table, 0..9).prop_map(Frame::Tables),
            vec(owner, 0..9).prop_map(Frame::Owners),
            vec(rows(), 0..9).prop_map(Frame::Rows),
            vec(flow, 0..MAX_ITEMS + 1).prop_map(Frame::Flows),
            (any::<u64>(), any::<bool>(), any::<bool>()).prop_map(
                |(sequence, tables, completes)| Frame::Mark {
                    sequence,
                    tables,
                    completes
                }
            ),
            any::<u64>().prop_map(|sequence| Frame::Seen { sequence }),
            Just(Frame::Want),
        ]
    }

    proptest! {
        #[test]
        fn a_frame_comes_back_as_it_went(frame in frames()) {
            let bytes = frame.encode();
            prop_assert!(bytes.len() <= MAX_BYTES);
            prop_assert_eq!(Frame::decode(&bytes), Ok(frame));
        }

        #[test]
        fn no_part_of_a_frame_is_one_and_nothing_may_follow(frame in frames()) {
            let mut bytes = frame.encode();
            for length in 0..bytes.len() {
                prop_assert_eq!(Frame::decode(&bytes[..length]), Err(Malformed::Short));
            }
            bytes.push(0);
            prop_assert_eq!(Frame::decode(&bytes), Err(Malformed::Long(1)));
        }

        /// Whatever is read of any bytes is said by the same bytes.
        #[test]
        fn any_bytes_are_refused_or_mean_what_they_say(bytes in vec(any::<u8>(), 0..300), kind in 0..10u8) {
            for bytes in [bytes.clone(), [vec![kind, 0, 3], bytes].concat()] {
                if let Ok(frame) = Frame::decode(&bytes) {
                    prop_assert_eq!(frame.encode(), bytes);
                }
            }
        }

        #[test]
        fn a_flipped_byte_is_refused_or_means_what_it_says(
            frame in frames(), at in any::<prop::sample::Index>(), flip in 1..=u8::MAX,
        ) {
            let mut bytes = frame.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(frame) = Frame::decode(&bytes) {
                prop_assert_eq!(frame.encode(), bytes);
            }
        }
    }

    #[test]
    fn a_list_that_is_too_long_is_refused_before_it_is_read() {
        let bytes = [&[FLOWS][..], &u16::MAX.to_be_bytes()].concat();
        assert_eq!(Frame::decode(&bytes), Err(Malformed::Items(65_535)));
    }
}
