//! VLAN tags: taken off before a packet's way begins and put back where it ends, so that every step of
//! the way sees one kind of frame. Frames without tags do not come here.

use crate::wire::{
    Cursor as _, Eth, Frame,
    vlan::{Tag, Tagged, is_tag},
};

/// The tags of a frame: none, one, or two (`QinQ`).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tags {
    /// How many there are.
    count: u64,
    outer: Taken,
    inner: Taken,
}

/// A tag, and the EtherType that announced it.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    announced: [u8; 2],
    control: [u8; 2],
}

impl Tags {
    /// Takes the tags off a frame; `None` where one is cut short, and nothing has changed.
    #[inline(always)]
    pub(crate) fn take_off<F: Frame>(frame: &mut F) -> Option<Self> {
        let mut tags = Self::default();
        if is_tagged(frame) {
            tags.outer = take(frame)?;
            tags.count = 1;
            if is_tagged(frame) {
                let Some(inner) = take(frame) else {
                    tags.put_back(frame)?;
                    return None;
                };
                tags.inner = inner;
                tags.count = 2;
            }
        }
        // The verifier walks what follows once, and not once for each number of tags.
        tags.count = F::Cursor::settled(tags.count);
        Some(tags)
    }

    /// Puts them back; `None` where there is no room.
    #[inline(always)]
    pub(crate) fn put_back<F: Frame>(self, frame: &mut F) -> Option<()> {
        if self.count == 0 {
            return Some(());
        }
        if self.count > 1 {
            put(frame, self.inner)?;
        }
        put(frame, self.outer)
    }
}

#[inline(always)]
pub(super) fn is_tagged<F: Frame>(frame: &mut F) -> bool {
    frame
        .head::<Eth>()
        .is_some_and(|eth| is_tag(eth.ether_type()))
}

#[inline(always)]
fn take<F: Frame>(frame: &mut F) -> Option<Taken> {
    let Tagged { eth, tag } = frame.head()?;
    if !frame.pull(size_of::<Tag>()) {
        return None;
    }
    frame.set_head(Eth {
        ether_type: tag.ether_type,
        ..eth
    })?;
    Some(Taken {
        announced: eth.ether_type,
        control: tag.control,
    })
}

#[inline(always)]
fn put<F: Frame>(frame: &mut F, taken: Taken) -> Option<()> {
    let eth: Eth = frame.head()?;
    if !frame.push(size_of::<Tag>()) {
        return None;
    }
    frame.set_head(Tagged {
        eth: Eth {
            ether_type: taken.announced,
            ..eth
        },
        tag: Tag {
            control: taken.control,
            ether_type: eth.ether_type,
        },
    })
}
