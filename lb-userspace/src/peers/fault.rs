//! What may be wrong with a peer.

use std::{io, net::SocketAddr};

use super::frame::{MAX_BYTES, Malformed, VERSION};

/// Why a connection ended, or did not come about.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It does not begin as a balancer does.
    #[error("what answers or calls there is no xlb peer")]
    NotAPeer,
    /// Another version of the protocol.
    #[error(
        "the peer speaks version {0} of the protocol, this balancer {VERSION}: run the same version of xlb on both"
    )]
    Version(u8),
    /// Its messages cannot be deciphered.
    #[error("the peer has another key: `key_file` must hold the same on all balancers")]
    Key,
    /// It closed the connection before the handshake was over.
    #[error(
        "the peer ended the handshake: its log says why (another key, or not among its `others`)"
    )]
    Rejected,
    /// It is nobody that the configuration names.
    #[error("{0} is not among `others` of this balancer")]
    UnknownPeer(SocketAddr),
    /// Slots and tags mean something else there.
    #[error("the peer has another `hash_seed`: it must be the same on all balancers")]
    OtherSeed,
    /// A message is too long.
    #[error("a message of {0} bytes, expected at most {MAX_BYTES}")]
    TooLong(usize),
    /// A frame is none.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// A frame that cannot come now.
    #[error("a frame that has no place here: {0}")]
    OutOfPlace(&'static str),
    /// It does not take what it is told.
    #[error("the peer does not keep up with what it is told")]
    Slow,
    /// Nothing is heard of it.
    #[error("nothing was heard of the peer for too long")]
    Silent,
    /// Too many callers that have not said who they are.
    #[error("too many callers at once")]
    TooMany,
    /// The network, or its end.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Fault {
    /// The labels of [`Self::label`].
    pub const LABELS: [&'static str; 11] = [
        "not_a_peer",
        "version",
        "key",
        "rejected",
        "unknown_peer",
        "other_seed",
        "too_long",
        "malformed",
        "slow",
        "silent",
        "too_many",
    ];

    /// What metrics call it; `None` for what happens to any connection.
    #[must_use]
    pub const fn label(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotAPeer => "not_a_peer",
            Self::Version(_) => "version",
            Self::Key => "key",
            Self::Rejected => "rejected",
            Self::UnknownPeer(_) => "unknown_peer",
            Self::OtherSeed => "other_seed",
            Self::TooLong(_) => "too_long",
            Self::Malformed(_) | Self::OutOfPlace(_) => "malformed",
            Self::Slow => "slow",
            Self::Silent => "silent",
            Self::TooMany => "too_many",
            Self::Io(_) => return None,
        })
    }
}
