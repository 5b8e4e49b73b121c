//! `xlb status`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep};

use super::super::{
    ATTENTION, Context, DONE,
    format::{millis, seconds, si},
};
use crate::api::{
    Code, Error,
    client::Client,
    types::{
        AnnouncementItem, Health, Observation, PeerItem, ReasonItem, ReceiverItem, Status, VipItem,
    },
};

pub(super) fn run(context: &Context, exit_code: bool, wait: Option<Duration>) -> Result<u8, Error> {
    let observation = context.ask(async |client| match wait {
        Some(patience) => until_up(&client, patience).await,
        None => client.observe().await,
    })?;
    let status = &observation.status;
    context.output.result(status, || describe(&observation))?;
    Ok(if exit_code && !status.healthy() {
        ATTENTION
    } else {
        DONE
    })
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Looks again until every service is up. A daemon that is still starting is waited for, too.
async fn until_up(client: &Client, patience: Duration) -> Result<Observation, Error> {
    let deadline = Instant::now() + patience;
    loop {
        let seen = client.observe().await;
        let missing = match seen {
            Ok(seen) if seen.status.services.iter().all(|service| service.up) => return Ok(seen),
            Ok(seen) => down_services(&seen.status),
            Err(error) if error.code == Code::Unreachable => error.message,
            Err(error) => return Err(error),
        };
        if Instant::now() >= deadline {
            let waited = seconds(patience.as_secs());
            let message = format!("waited {waited} in vain: {missing}");
            return Err(Error::new(Code::Timeout, message).hint("see `xlb backend list`"));
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

fn down_services(status: &Status) -> String {
    let down = status.services.iter().filter(|service| !service.up);
    let names: Vec<&str> = down.map(|service| service.name.as_str()).collect();
    format!("no backend takes the flows of {}", names.join(", "))
}

fn describe(observation: &Observation) -> String {
    let Observation { status, backends } = observation;
    let count = |state: Health| backends.iter().filter(|b| b.state == state).count();
    let services_up = status.services.iter().filter(|s| s.up).count();
    let mut lines = vec![head(status)];
    lines.extend(status.interfaces.iter().flat_map(|interface| {
        let line = format!(
            "  {:9} xdp {}, prog {}",
            interface.name, interface.mode, interface.program_id
        );
        let warnings = interface
            .warnings
            .iter()
            .map(|w| format!("    warning: {w}"));
        std::iter::once(line).chain(warnings)
    }));
    lines.push(format!(
        "  services  {services_up} up, {} down",
        status.services.len() - services_up
    ));
    lines.push(format!(
        "  backends  {} up, {} down, {} unknown",
        count(Health::Up),
        count(Health::Down),
        count(Health::Unknown)
    ));
    lines.push(format!("  drops     {}", counted(&status.drops)));
    lines.push(format!("  answers   {}", counted(&status.answers)));
    lines.extend(status.announcement.iter().flat_map(announcement));
    lines.extend(peers(status));
    lines.extend(status.notify.iter().map(|it| receiver(it, now_ms())));
    lines.push(maps(status));
    lines.push(config(status));
    if let Some(address) = status.metrics {
        lines.push(format!("  metrics   http://{address}/metrics"));
    }
    lines.join("\n") + "\n"
}

fn head(status: &Status) -> String {
    let word = match (status.healthy(), status.services.iter().all(|s| s.up)) {
        (true, _) => "ok",
        (false, true) => "degraded",
        (false, false) => "down",
    };
    let adopted = if status.adopted { ", adopted" } else { "" };
    format!(
        "{}  {word}  up {}{adopted}  rev {}",
        status.instance,
        seconds(status.uptime_seconds),
        status.revision
    )
}

fn counted(reasons: &[ReasonItem]) -> String {
    let counted = reasons.iter().filter(|item| item.packets > 0);
    let texts: Vec<String> = counted
        .map(|item| format!("{} {}", si(item.packets), item.reason))
        .collect();
    match texts.as_slice() {
        [] => "none".to_owned(),
        texts => texts.join(", "),
    }
}

/// A line for each VIP, and what is wrong with all of them.
fn announcement(item: &AnnouncementItem) -> Vec<String> {
    let drained = item.drained.iter().map(|by_hand| {
        let ends = by_hand.expires_in_seconds;
        let ends = ends.map_or_else(String::new, |left| format!(", {} left", seconds(left)));
        format!("  drained   no VIP is announced{ends}; `xlb ready self` ends it")
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let vip = |vip: &VipItem| {
        let address = vip.address;
        match (&vip.since, &vip.reason) {
            (Some(since), _) => {
                let lasts = seconds(now.saturating_sub(*since));
                format!("  announced {address} for {lasts}")
            }
            (None, Some(reason)) => format!("  withdrawn {address}: {reason}"),
            (None, None) => format!("  withdrawn {address}"),
        }
    };
    let problem = item.problem.iter().map(|it| format!("  warning   {it}"));
    let vips = item.vips.iter().map(vip);
    drained.chain(vips).chain(problem).collect()
}

/// A line for each of the other balancers.
fn peers(status: &Status) -> Vec<String> {
    let line = |peer: &PeerItem| {
        let state = match (&peer.error, peer.connected_seconds) {
            (_, Some(since)) => format!("connected {}", seconds(since)),
            (Some(error), None) => format!("not connected: {error}"),
            (None, None) if peer.told => "does not call back".to_owned(),
            (None, None) => "not connected".to_owned(),
        };
        let lag = peer
            .lag_us
            .map(|lag| format!(", lag {}.{}ms", lag / 1000, lag % 1000 / 100));
        let tables = match peer.tables_differ.as_slice() {
            [] if peer.heard => ", tables equal".to_owned(),
            [] => String::new(),
            services => format!(", tables differ: {}", services.join(", ")),
        };
        let waits = if peer.heard && !peer.complete {
            ", telling what it knows"
        } else {
            ""
        };
        format!(
            "  peer      {} {state}{}, {} told, {} heard{tables}{waits}",
            peer.address,
            lag.unwrap_or_default(),
            si(peer.sent),
            si(peer.received)
        )
    };
    status.peers.items.iter().map(line).collect()
}

/// A line for one who is told of events; `now` is in milliseconds since 1970.
fn receiver(item: &ReceiverItem, now: u64) -> String {
    let ReceiverItem {
        name,
        waiting,
        sent,
        dropped,
        failures,
        ..
    } = item;
    let ago = |at: u64| millis(now.saturating_sub(at));
    let last = item
        .last_sent_ms
        .map(|at| format!(", the last {} ago", ago(at)));
    let lost = (*dropped > 0).then(|| format!(", {dropped} dropped"));
    let failure = item.last_failure.iter().zip(item.last_failure_ms);
    let failing = failure
        .filter(|_| *failures > 0)
        .map(|(outcome, at)| format!("; failed {failures} times, {} ago: {outcome}", ago(at)));
    format!(
        "  notify    {name} {sent} sent{}, {waiting} waiting{}{}",
        last.unwrap_or_default(),
        lost.unwrap_or_default(),
        failing.collect::<String>()
    )
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

fn maps(status: &Status) -> String {
    let bytes = status.maps.iter().map(|map| map.bytes).sum();
    format!("  maps      {}, {}B", status.maps.len(), si(bytes))
}

fn config(status: &Status) -> String {
    let failed = if status.config.last_reload_successful {
        ""
    } else {
        "; the last reload was refused"
    };
    format!("  config    {}{failed}", status.config.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{samples, types::OverrideItem};

    #[test]
    fn every_peer_has_a_line() {
        let mut status = samples::observation().status;
        let peer = |address: &str| PeerItem {
            address: address.to_owned(),
            sent: 5,
            received: 70_000,
            ..PeerItem::default()
        };
        status.peers.items = vec![
            PeerItem {
                told: true,
                heard: true,
                complete: true,
                connected_seconds: Some(90),
                lag_us: Some(51_270),
                ..peer("10.0.0.2:7472")
            },
            PeerItem {
                told: true,
                heard: true,
                connected_seconds: Some(1),
                tables_differ: vec!["web".to_owned()],
                ..peer("10.0.0.3:7472")
            },
            PeerItem {
                error: Some("no route to host".to_owned()),
                ..peer("10.0.0.4:7472")
            },
        ];
        assert_eq!(
            peers(&status),
            [
                "  peer      10.0.0.2:7472 connected 1m30s, lag 51.2ms, 5 told, 70.0k heard, tables equal",
                "  peer      10.0.0.3:7472 connected 1s, 5 told, 70.0k heard, tables differ: web, telling what it knows",
                "  peer      10.0.0.4:7472 not connected: no route to host, 5 told, 70.0k heard",
            ]
        );
    }

    #[test]
    fn every_receiver_has_a_line() {
        let hook = ReceiverItem {
            name: "hooks.example.org".to_owned(),
            sent: 12,
            last_sent_ms: Some(39_500),
            failed: 1,
            last_failure_ms: Some(30_000),
            last_failure: Some("timeout".to_owned()),
            ..ReceiverItem::default()
        };
        let page = ReceiverItem {
            name: "page".to_owned(),
            waiting: 3,
            dropped: 2,
            failed: 5,
            failures: 4,
            last_failure_ms: Some(40_000),
            last_failure: Some("exit code 1".to_owned()),
            ..ReceiverItem::default()
        };
        assert_eq!(
            [hook, page].map(|item| receiver(&item, 41_300)),
            [
                "  notify    hooks.example.org 12 sent, the last 1.8s ago, 0 waiting",
                "  notify    page 0 sent, 3 waiting, 2 dropped; failed 4 times, 1.3s ago: exit code 1",
            ]
        );
    }

    #[test]
    fn the_whole_fits_a_screen() {
        let mut observation = samples::observation();
        let announcement = observation.status.announcement.as_mut().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        // The test may take long.
        announcement.vips[0].since = Some(now.as_secs() - 86_400 - 1800);
        assert_eq!(
            describe(&observation),
            "test  degraded  up 1d01h  rev 3\n\
             \x20 eth0      xdp native, prog 155\n\
             \x20 services  1 up, 0 down\n\
             \x20 backends  1 up, 1 down, 0 unknown\n\
             \x20 drops     none\n\
             \x20 answers   none\n\
             \x20 announced 203.0.113.10 for 1d00h\n\
             \x20 withdrawn 2001:db8::10: no backend: dns\n\
             \x20 maps      1, 32.7kB\n\
             \x20 config    /etc/xlb/xlb.yaml\n"
        );
    }

    #[test]
    fn routes_that_cannot_be_written_want_attention() {
        let mut status = samples::observation().status;
        status.services[0].backends_up = 2;
        assert!(status.healthy());
        let announcement = status.announcement.as_mut().unwrap();
        announcement.problem = Some("table 77 has another route".to_owned());
        assert!(!status.healthy());
    }

    #[test]
    fn a_drain_and_a_problem_are_said() {
        let item = AnnouncementItem {
            table: 77,
            protocol: 200,
            metric: 100,
            drained: Some(OverrideItem {
                what: "drain".to_owned(),
                expires_in_seconds: Some(90),
            }),
            vips: Vec::new(),
            problem: Some("table 77 has another route".to_owned()),
        };
        assert_eq!(
            announcement(&item),
            [
                "  drained   no VIP is announced, 1m30s left; `xlb ready self` ends it",
                "  warning   table 77 has another route"
            ]
        );
    }
}
