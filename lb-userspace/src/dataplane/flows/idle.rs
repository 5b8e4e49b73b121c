//! When a remembered flow is over.

use lb_common::flow::Flow;

use crate::dataplane::clock::Clock;

/// Times in seconds of idleness after which a flow is taken out.
const TCP: u32 = 15 * 60;
const TCP_CLOSING: u32 = 60;
/// Nothing came back yet.
const TCP_HALF_OPEN: u32 = 10;
const UDP: u32 = 60;

/// IP protocol number.
const PROTOCOL_TCP: u8 = 6;

/// Whether a flow of which these entries tell is over: both directions of full NAT, the only entry of
/// another one.
pub(super) fn is_over(protocol: u8, entries: &[Flow], clock: Clock) -> bool {
    idle(entries, clock) >= patience(protocol, entries)
}

/// Seconds since packets of any of these entries passed.
fn idle(entries: &[Flow], clock: Clock) -> u32 {
    let seen = entries.iter().map(|flow| flow.seen);
    // One that no packet ever passed is as old as this daemon.
    let last = seen.filter(|seen| *seen != 0).max();
    clock.now.saturating_sub(last.unwrap_or(clock.resumed))
}

fn patience(protocol: u8, entries: &[Flow]) -> u32 {
    if protocol != PROTOCOL_TCP {
        return UDP;
    }
    if entries.iter().any(|flow| flow.marks & Flow::CLOSING != 0) {
        TCP_CLOSING
    } else if entries.iter().any(|flow| flow.seen == 0) {
        TCP_HALF_OPEN
    } else {
        TCP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: Clock = Clock {
        now: 10_000,
        resumed: 9_000,
    };
    const UDP_PROTOCOL: u8 = 17;

    fn seen(seconds_ago: u32) -> Flow {
        Flow {
            seen: CLOCK.now - seconds_ago,
            ..Flow::default()
        }
    }

    fn closing(flow: Flow) -> Flow {
        Flow {
            marks: Flow::CLOSING,
            ..flow
        }
    }

    #[test]
    fn a_flow_is_over_when_both_directions_are_idle() {
        let cases = [
            (PROTOCOL_TCP, [seen(899), seen(5000)], false),
            (PROTOCOL_TCP, [seen(5000), seen(899)], false),
            (PROTOCOL_TCP, [seen(900), seen(5000)], true),
            (PROTOCOL_TCP, [closing(seen(59)), seen(80)], false),
            (PROTOCOL_TCP, [seen(60), closing(seen(80))], true),
            (PROTOCOL_TCP, [seen(9), Flow::default()], false),
            (PROTOCOL_TCP, [seen(10), Flow::default()], true),
            (UDP_PROTOCOL, [seen(59), Flow::default()], false),
            (UDP_PROTOCOL, [seen(60), seen(61)], true),
        ];
        for (protocol, entries, over) in cases {
            assert_eq!(is_over(protocol, &entries, CLOCK), over, "{entries:?}");
        }
    }
}
