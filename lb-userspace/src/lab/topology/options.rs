//! What a topology has.

/// What a topology has.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Backends on the balancer's own link.
    pub backends: u8,
    /// Backends behind a router of their own. With those on the link at most 200.
    pub far: u8,
    /// A router between client and balancer.
    pub router: bool,
    /// Where backends send what they answer.
    pub way_back: WayBack,
    /// The balancer's kernel forwards packets that XDP passes.
    pub forward: bool,
    /// The ends that face the balancer are made ready for XDP at its interfaces ([`settle`]), which
    /// costs the wire its offloads.
    ///
    /// [`settle`]: crate::lab::settle
    pub settled: bool,
}

/// Where backends send what they answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayBack {
    /// To the balancer.
    Balancer,
    /// To the clients' router, which then there is.
    Router,
}

impl Default for Options {
    /// Three backends, no router, no forwarding, ready for XDP.
    fn default() -> Self {
        Self {
            backends: 3,
            far: 0,
            router: false,
            way_back: WayBack::Balancer,
            forward: false,
            settled: true,
        }
    }
}
