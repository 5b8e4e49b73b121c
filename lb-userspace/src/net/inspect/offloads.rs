//! What an interface does with packets before XDP sees them and after: `ethtool -k`.

use tokio::process::Command;

/// The offloads that matter to XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Offloads {
    /// Packets leave it with unfinished checksums.
    pub(super) tx_checksumming: bool,
    /// Packets are joined in software; on veth: it has a NAPI context.
    pub(super) gro: bool,
    /// Packets are joined in hardware, against which XDP is helpless.
    pub(super) lro: bool,
    /// The same by rules that allow to take them apart again.
    pub(super) gro_hw: bool,
    /// VLAN tags of what comes in are beside the packet, where XDP does not see them.
    pub(super) rx_vlan: bool,
    /// The same of what leaves it.
    pub(super) tx_vlan: bool,
}

impl Offloads {
    /// `None` when there is no `ethtool` or it knows nothing of the interface.
    pub(super) async fn read(interface: &str) -> Option<Self> {
        let mut ethtool = Command::new("ethtool");
        let output = ethtool.args(["-k", interface]).output().await.ok()?;
        Self::parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// Reads lines like `large-receive-offload: off [fixed]`. Those that not every version knows count
    /// as off where they are missing.
    pub(super) fn parse(features: &str) -> Option<Self> {
        let is_on = |name: &str| {
            let mut lines = features.lines().map(str::trim);
            let state = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?;
            Some(state.starts_with("on"))
        };
        Some(Self {
            tx_checksumming: is_on("tx-checksumming")?,
            gro: is_on("generic-receive-offload")?,
            lro: is_on("large-receive-offload")?,
            gro_hw: is_on("rx-gro-hw").unwrap_or(false),
            rx_vlan: is_on("rx-vlan-offload").unwrap_or(false),
            tx_vlan: is_on("tx-vlan-offload").unwrap_or(false),
        })
    }
}
