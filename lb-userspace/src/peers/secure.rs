//! A connection that only holders of the key can read or write: `Noise_NNpsk0` (the Noise protocol
//! framework, revision 34, §7.4 and §9), keys of its own for each connection.
//!
//! ```text
//! both    "xlb-peer", version          so that others, and other versions, are told apart
//! dialler  e, encrypted with the key   who has no key comes no further
//! other    e, ee
//! then     length (16 bits), ciphertext of one frame, either way
//! ```

use std::sync::Arc;

use snow::{Builder, HandshakeState, StatelessTransportState};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split,
};

use super::{
    fault::Fault,
    frame::{Frame, MAX_BYTES, VERSION},
    key::Key,
};

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
const MAGIC: [u8; 8] = *b"xlb-peer";
/// Bytes of a message's authentication.
const TAG: usize = 16;
/// Bytes of a message of the handshake: an ephemeral key and its authentication.
const HANDSHAKE: usize = 32 + TAG;

/// Who began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Dials,
    Accepts,
}

/// What is said.
#[derive(Debug)]
pub(super) struct Mouth<S> {
    stream: WriteHalf<S>,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
}

/// What is heard.
#[derive(Debug)]
pub(super) struct Ear<S> {
    stream: ReadHalf<S>,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
}

/// Shakes hands on a fresh connection.
///
/// # Errors
/// Where the other end is no peer, of another version, or has another key.
pub(super) async fn shake_hands<S>(
    mut stream: S,
    side: Side,
    key: &Key,
) -> Result<(Mouth<S>, Ear<S>), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    greet(&mut stream).await?;
    let noise = Arc::new(agree(&mut stream, side, key).await?);
    let (read, write) = split(stream);
    let mouth = Mouth {
        stream: write,
        noise: Arc::clone(&noise),
        nonce: 0,
    };
    let ear = Ear {
        stream: read,
        noise,
        nonce: 0,
    };
    Ok((mouth, ear))
}

async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), Fault> {
    stream.write_all(&MAGIC).await?;
    stream.write_all(&[VERSION]).await?;
    let mut magic = MAGIC;
    stream.read_exact(&mut magic).await?;
    if magic != MAGIC {
        return Err(Fault::NotAPeer);
    }
    match stream.read_u8().await? {
        VERSION => Ok(()),
        other => Err(Fault::Version(other)),
    }
}

async fn agree<S>(stream: &mut S, side: Side, key: &Key) -> Result<StatelessTransportState, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut noise = handshake(side, key).map_err(not_made)?;
    let mut message = [0; HANDSHAKE];
    if side == Side::Dials {
        noise.write_message(&[], &mut message).map_err(not_made)?;
        stream.write_all(&message).await?;
    }
    let heard = stream.read_exact(&mut message).await;
    heard.map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => Fault::Rejected,
        _ => error.into(),
    })?;
    noise
        .read_message(&message, &mut [])
        .map_err(|_wrong| Fault::Key)?;
    if side == Side::Accepts {
        noise.write_message(&[], &mut message).map_err(not_made)?;
        stream.write_all(&message).await?;
    }
    noise.into_stateless_transport_mode().map_err(not_made)
}

fn handshake(side: Side, key: &Key) -> Result<HandshakeState, snow::Error> {
    let builder = Builder::new(PATTERN.parse()?)
        .psk(0, &key.0)?
        .prologue(&[VERSION])?;
    match side {
        Side::Dials => builder.build_initiator(),
        Side::Accepts => builder.build_responder(),
    }
}

/// What cannot be: the pattern, the lengths and the order are our own.
fn not_made(error: snow::Error) -> Fault {
    Fault::Io(std::io::Error::other(error))
}

impl<S: AsyncWrite + Unpin> Mouth<S> {
    /// Says one thing.
    pub(super) async fn say(&mut self, frame: &Frame) -> Result<(), Fault> {
        let frame = frame.encode();
        let mut message = vec![0; 2 + frame.len() + TAG];
        let length =
            u16::try_from(frame.len() + TAG).map_err(|_too_long| Fault::TooLong(frame.len()))?;
        let (prefix, body) = message.split_at_mut(2);
        prefix.copy_from_slice(&length.to_be_bytes());
        let written = self.noise.write_message(self.nonce, &frame, body);
        written.map_err(not_made)?;
        self.nonce += 1;
        self.stream.write_all(&message).await?;
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> Ear<S> {
    /// Hears one thing.
    pub(super) async fn hear(&mut self) -> Result<Frame, Fault> {
        let length = usize::from(self.stream.read_u16().await?);
        if length > MAX_BYTES + TAG {
            return Err(Fault::TooLong(length));
        }
        let mut message = vec![0; length];
        self.stream.read_exact(&mut message).await?;
        let mut frame = vec![0; length];
        let read = self.noise.read_message(self.nonce, &message, &mut frame);
        let length = read.map_err(|_forged| Fault::Key)?;
        self.nonce += 1;
        frame.truncate(length);
        Ok(Frame::decode(&frame)?)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn key(byte: u8) -> Key {
        Key([byte; 32])
    }

    async fn accept(stream: DuplexStream) -> Result<Ear<DuplexStream>, Fault> {
        let shaken = shake_hands(stream, Side::Accepts, &key(1)).await;
        shaken.map(|(_, ear)| ear)
    }

    #[tokio::test]
    async fn holders_of_one_key_understand_each_other() {
        let (one, other) = duplex(256);
        let (a, b) = (key(1), key(1));
        let dialled = shake_hands(one, Side::Dials, &a);
        let accepted = shake_hands(other, Side::Accepts, &b);
        let (dialled, accepted) = tokio::join!(dialled, accepted);
        let ((mut mouth, _), (_, mut ear)) = (dialled.unwrap(), accepted.unwrap());
        for sequence in 0..100 {
            let frame = Frame::Seen { sequence };
            let (said, heard) = tokio::join!(mouth.say(&frame), ear.hear());
            said.unwrap();
            assert_eq!(heard.unwrap(), frame);
        }
    }

    #[tokio::test]
    async fn another_key_is_told_by_both() {
        let (one, other) = duplex(256);
        let wrong = key(2);
        let dialled = shake_hands(one, Side::Dials, &wrong);
        let (dialled, accepted) = tokio::join!(dialled, accept(other));
        assert!(matches!(dialled, Err(Fault::Rejected)));
        assert!(matches!(accepted, Err(Fault::Key)));
    }

    #[tokio::test]
    async fn who_does_not_begin_as_a_peer_is_told_apart() {
        for (bytes, label) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], Some("not_a_peer")),
            (b"xlb-peer\x09", Some("version")),
            (b"xlb-pe", None),
        ] {
            let (mut one, other) = duplex(256);
            one.write_all(bytes).await.unwrap();
            one.shutdown().await.unwrap();
            let fault = accept(other).await.unwrap_err();
            assert_eq!(fault.label(), label, "{fault}");
        }
    }

    #[tokio::test]
    async fn messages_that_are_too_long_or_forged_end_it() {
        for (length, label) in [(u16::MAX, "too_long"), (20, "key")] {
            let (one, other) = duplex(256);
            let one_key = key(1);
            let dialled = shake_hands(one, Side::Dials, &one_key);
            let (dialled, accepted) = tokio::join!(dialled, accept(other));
            let (mut mouth, _) = dialled.unwrap();
            mouth.stream.write_u16(length).await.unwrap();
            mouth.stream.write_all(&[7; 20]).await.unwrap();
            let fault = accepted.unwrap().hear().await.unwrap_err();
            assert_eq!(fault.label(), Some(label));
        }
    }
}
