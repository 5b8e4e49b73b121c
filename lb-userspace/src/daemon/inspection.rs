//! Looks at the host's set-up from time to time, beside the loop: it runs programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::PathBuf,
    time::Duration,
};

use tracing::{info, warn};

use super::{engine::Engine, reach};
use crate::{
    api::{Code, Error},
    config::model::{Config, Interface, XdpMode},
    dataplane::Mode,
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

/// Refuses to begin where nothing that goes by an interface would arrive. Where a program runs already
/// it goes on, and is better off with a daemon.
///
/// # Errors
/// Says all that is wrong, each with the command that mends it.
pub(super) fn refuse(
    findings: &[Finding],
    running: &BTreeMap<String, PathBuf>,
) -> Result<(), Error> {
    let fatal = findings.iter().filter(|finding| {
        finding.severity == Severity::Fatal && !running.contains_key(&finding.interface)
    });
    let reasons: Vec<String> = fatal.map(ToString::to_string).collect();
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Error::new(Code::Refused, reasons.join("\n"))
        .hint("mend that and start again, or start all the same with --force"))
}

impl Engine {
    /// A look at the host that borrows nothing.
    pub(super) fn inspect(&self) -> impl Future<Output = Vec<Finding>> + use<> {
        let (view, mut config) = (self.follower.view(), self.effective.config.clone());
        self.say_generic(&mut config.interfaces);
        async move { look(&view, &config).await }
    }

    /// Of an interface on which `auto` has come to generic mode, that is what it is judged by.
    fn say_generic(&self, interfaces: &mut [Interface]) {
        let attached = self.dataplane.interfaces().unwrap_or_default();
        for interface in interfaces {
            let is_generic = attached.iter().any(|attachment| {
                attachment.name == interface.name && attachment.mode == Mode::Generic
            });
            if is_generic {
                interface.xdp = XdpMode::Generic;
            }
        }
    }

    /// Takes what a look found; says what is new and what is mended.
    pub(super) fn inspected(&mut self, findings: Vec<Finding>) {
        for finding in findings.iter().filter(|new| !self.findings.contains(new)) {
            match finding.severity {
                Severity::Note => info!("{finding}"),
                Severity::Warning | Severity::Error | Severity::Fatal => warn!("{finding}"),
            }
        }
        for finding in self.findings.iter().filter(|old| !findings.contains(old)) {
            info!(interface = %finding.interface, "mended: {}", finding.message);
        }
        self.findings = findings;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(interface: &str, severity: Severity) -> Finding {
        Finding {
            severity,
            interface: interface.to_owned(),
            message: "nothing arrives".to_owned(),
            cure: Some(format!("ethtool -K {interface} lro off")),
        }
    }

    #[test]
    fn what_is_fatal_is_refused_with_its_cure_but_not_where_a_program_runs() {
        let findings = [
            finding("eth0", Severity::Fatal),
            finding("eth1", Severity::Error),
        ];
        let error = refuse(&findings, &BTreeMap::new()).unwrap_err();
        assert_eq!(error.code, Code::Refused);
        assert_eq!(
            error.message,
            "eth0: nothing arrives; run: ethtool -K eth0 lro off"
        );
        let running = BTreeMap::from([("eth0".to_owned(), PathBuf::new())]);
        assert_eq!(refuse(&findings, &running), Ok(()));
    }
}
