//! Refuses changes by hand that would leave a service without a backend.

use std::net::SocketAddr;

use crate::{
    api::{Code, Error},
    config::model::{Backend, Service},
    desired::overrides::{Admin, Effective},
};

/// Compares a service before and after a change. `is_up` tells whether probes reach a backend.
///
/// # Errors
/// Where the change takes the last backend that is ready, or the last one that takes flows.
pub(super) fn keeps_a_backend(
    service: &str,
    before: &Effective,
    after: &Effective,
    is_up: impl Fn(SocketAddr) -> bool,
) -> Result<(), Error> {
    let ready = |effective: &Effective| ready(service, effective);
    let (before, after) = (ready(before), ready(after));
    let takes_flows = |ready: &[SocketAddr]| ready.iter().any(|address| is_up(*address));
    let loses_last = !before.is_empty() && after.is_empty();
    if !loses_last && (!takes_flows(&before) || takes_flows(&after)) {
        return Ok(());
    }
    let rest = match after.as_slice() {
        [] => "none would be left".to_owned(),
        rest => format!("only {} would be left, down", listing(rest)),
    };
    Err(Error::new(
        Code::Refused,
        format!("service `{service}` would drop all its packets: {rest}"),
    )
    .hint("--force does it all the same"))
}

fn ready(service: &str, effective: &Effective) -> Vec<SocketAddr> {
    let is_ready = |service: &Service, backend: &Backend| {
        backend.weight > 0 && effective.admin(&service.name, backend.address) == Admin::Ready
    };
    let mut services = effective.config.services.iter();
    let Some(service) = services.find(|candidate| candidate.name == service) else {
        return Vec::new();
    };
    let backends = service.backends.iter();
    let ready = backends.filter(|backend| is_ready(service, backend));
    ready.map(|backend| backend.address).collect()
}

fn listing(addresses: &[SocketAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        daemon::samples,
        desired::overrides::{Override, Overrides, Setting},
    };

    fn drained(backends: &[&str]) -> Effective {
        let mut overrides = Overrides::default();
        for backend in backends {
            let drain = Override {
                admin: Some(Setting {
                    value: Admin::Drain,
                    expires: None,
                }),
                ..Override::default()
            };
            overrides.set("web", backend.parse().unwrap(), drain);
        }
        overrides.apply(&samples::config())
    }

    const B1: &str = "10.0.0.11:8080";
    const B2: &str = "10.0.0.12:8080";

    fn judge(before: &[&str], after: &[&str], up: &[&str]) -> Result<(), Error> {
        let is_up = |address: SocketAddr| up.contains(&address.to_string().as_str());
        keeps_a_backend("web", &drained(before), &drained(after), is_up)
    }

    #[test]
    fn the_last_one_stays() {
        assert!(judge(&[], &[B1], &[B1, B2]).is_ok());
        let error = judge(&[B1], &[B1, B2], &[B1, B2]).unwrap_err();
        assert_eq!(error.code, Code::Refused);
        assert!(error.message.ends_with("none would be left"), "{error}");
    }

    #[test]
    fn the_last_one_that_answers_stays() {
        let error = judge(&[], &[B1], &[B1]).unwrap_err();
        assert!(error.message.contains("only 10.0.0.12:8080"), "{error}");
        assert!(judge(&[], &[B2], &[B1]).is_ok(), "b2 took no flows");
    }

    #[test]
    fn what_is_lost_already_is_not_guarded() {
        assert!(judge(&[], &[B1], &[]).is_ok());
        assert!(judge(&[B1, B2], &[B1, B2], &[]).is_ok());
    }
}
