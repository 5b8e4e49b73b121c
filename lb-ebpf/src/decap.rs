//! The program of `xlb decap`, on backends, and its maps.

use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::{
        Array, HashMap, PerCpuArray,
        lpm_trie::{Key, LpmTrie},
    },
    programs::XdpContext,
};
use lb_common::{
    address::Address,
    decap::{self, Fate, OUTCOMES, Outcome, Rules, Settings},
    wire::{Ip, transport::Tcp},
};

use crate::{connections, frame::XdpFrame};

/// Sizes of 1 are placeholders: the loader sets them from the rules.
#[map]
static DECAP_SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
#[map]
static DECAP_VIPS: HashMap<Address, u32> = HashMap::with_max_entries(1, 0);
#[map]
static DECAP_SOURCES: LpmTrie<Address, u32> = LpmTrie::with_max_entries(1, 0);
#[map]
static DECAP_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(OUTCOMES, 0);

/// Bits of an [`Address`].
const BITS: u32 = 128;

/// Takes packets out of tunnels. Attached to the interfaces of a backend.
#[xdp]
#[inline(always)]
pub fn xlb_decap(ctx: XdpContext) -> u32 {
    let rules = Maps {
        ctx: &ctx,
        settings: DECAP_SETTINGS.get(0).copied().unwrap_or_default(),
    };
    let outcome = decap::decapsulate(&mut XdpFrame::<false>::new(&ctx), &rules);
    count(outcome);
    match outcome.fate() {
        Fate::Left | Fate::Taken => xdp_action::XDP_PASS,
        Fate::Dropped => xdp_action::XDP_DROP,
    }
}

/// A key of the trie, its address at a place that the compiler may fill by eight bytes: the verifier
/// refuses misaligned stores to the stack.
#[repr(C, align(8))]
struct Aligned {
    _before: u32,
    key: Key<Address>,
}

struct Maps<'c> {
    ctx: &'c XdpContext,
    settings: Settings,
}

impl Rules for Maps<'_> {
    #[inline(always)]
    fn settings(&self) -> Settings {
        self.settings
    }

    #[inline(always)]
    fn is_vip(&self, address: Address) -> bool {
        DECAP_VIPS.get_ptr(address).is_some()
    }

    #[inline(always)]
    fn is_allowed(&self, source: Address) -> bool {
        let aligned = Aligned {
            _before: 0,
            key: Key::new(BITS, source),
        };
        DECAP_SOURCES.get(&aligned.key).is_some()
    }

    #[inline(always)]
    fn knows<I: Ip>(&self, ip: &I, tcp: &Tcp) -> bool {
        connections::knows(self.ctx, ip, tcp)
    }
}

#[inline(always)]
fn count(outcome: Outcome) {
    if let Some(counter) = DECAP_COUNTERS.get_ptr_mut(outcome.index()) {
        // SAFETY: an element of a per-CPU map, which only this CPU's program writes.
        unsafe { *counter += 1 };
    }
}
