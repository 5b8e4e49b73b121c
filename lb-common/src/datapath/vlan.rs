//! VLAN tags: taken off before a packet's way begins and put back where it ends, so that every step of
//! the way sees one kind of frame, and frames without tags pay one comparison.

use crate::wire::{
    Eth, Frame,
    vlan::{Tag, Tagged, is_tag},
};

/// The tags of a frame: none, one, or two (`QinQ`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tags {
    outer: Option<Taken>,
    inner: Option<Taken>,
}

/// A tag, and the EtherType that announced it.
#[derive(Clone, Copy, Debug)]
struct Taken {
    announced: [u8; 2],
    control: [u8; 2],
}

impl Tags {
    /// Takes the tags off a frame; `None` where one is cut short, and nothing has changed.
    #[inline(always)]
    pub(crate) fn take_off<F: Frame>(frame: &mut F) -> Option<Self> {
        let mut tags = Self {
            outer: None,
            inner: None,
        };
        if is_tagged(frame) {
            tags.outer = Some(take(frame)?);
            if is_tagged(frame) {
                tags.inner = take(frame);
                if tags.inner.is_none() {
                    tags.put_back(frame)?;
                    return None;
                }
            }
        }
        Some(tags)
    }

    /// Puts them back; `None` where there is no room.
    #[inline(always)]
    pub(crate) fn put_back<F: Frame>(self, frame: &mut F) -> Option<()> {
        let Some(outer) = self.outer else {
            return Some(());
        };
        if let Some(inner) = self.inner {
            put(frame, inner)?;
        }
        put(frame, outer)
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
