//! Looks at the host's set-up from time to time, beside the loop: it runs programs.

use std::{collections::BTreeSet, future::Future, time::Duration};

use tracing::{info, warn};

use super::{engine::Engine, reach};
use crate::{
    config::model::Config,
    net::{Family, Finding, Severity, View, inspect},
};

/// From one look to the next.
pub(super) const INTERVAL: Duration = Duration::from_secs(30);

/// What cannot work as the host is set up.
pub(super) async fn look(view: &View, config: &Config) -> Vec<Finding> {
    let services = config.services.iter();
    let is_v6: BTreeSet<bool> = services.map(|s| s.vip.address.is_ipv6()).collect();
    let family = |v6: bool| if v6 { Family::V6 } else { Family::V4 };
    let families: Vec<Family> = is_v6.into_iter().map(family).collect();
    let mut findings = inspect::inspect(view, &config.interfaces, &families).await;
    findings.extend(reach::judge(view, config));
    findings
}

impl Engine {
    /// A look at the host that borrows nothing.
    pub(super) fn inspect(&self) -> impl Future<Output = Vec<Finding>> + use<> {
        let (view, config) = (self.follower.view(), self.effective.config.clone());
        async move { look(&view, &config).await }
    }

    /// Takes what a look found; says what is new and what is mended.
    pub(super) fn inspected(&mut self, findings: Vec<Finding>) {
        for finding in findings.iter().filter(|new| !self.findings.contains(new)) {
            match finding.severity {
                Severity::Note => info!("{finding}"),
                Severity::Warning | Severity::Error => warn!("{finding}"),
            }
        }
        for finding in self.findings.iter().filter(|old| !findings.contains(old)) {
            info!(interface = %finding.interface, "mended: {}", finding.message);
        }
        self.findings = findings;
    }
}
