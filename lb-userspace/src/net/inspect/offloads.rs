//! What an interface does with packets before XDP sees them and after: `ethtool -k`.

use tokio::process::Command;

/// The offloads that matter to XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offloads {
    /// Packets leave it with unfinished checksums.
    pub(super) tx_checksumming: bool,
    /// Packets are joined in software; on veth: it has a NAPI context.
    pub(super) gro: bool,
    /// Packets are joined in hardware, against which XDP is helpless.
    pub(super) lro: bool,
}

impl Offloads {
    /// `None` when there is no `ethtool` or it knows nothing of the interface.
    pub(super) async fn read(interface: &str) -> Option<Self> {
        let mut ethtool = Command::new("ethtool");
        let output = ethtool.args(["-k", interface]).output().await.ok()?;
        Self::parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// Reads lines like `large-receive-offload: off [fixed]`.
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
        })
    }
}
