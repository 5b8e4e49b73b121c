//! One TCP stream, by iperf3.

use serde_json::Value;

use super::lanes::Lane;

/// Whole seconds of one test, and of its beginning, which does not count.
const SECONDS: &str = "1";
const LEFT_OUT: &str = "1";

/// Where the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the client to the backend.
    Up,
    /// From the backend to the client.
    Down,
}

/// Gbit/s of payload that arrived.
pub(super) fn gigabits(lane: &Lane, way: Way) -> f64 {
    let server = lane.bulk();
    let (address, port) = (server.ip().to_string(), server.port().to_string());
    let mut words = vec!["iperf3", "--json", "--client", &address, "--port", &port];
    words.extend(["--time", SECONDS, "--omit", LEFT_OUT]);
    if way == Way::Down {
        words.push("--reverse");
    }
    let client = &lane.topology.client.namespace;
    let report = client.run(words).expect("iperf3");
    let report: Value = serde_json::from_str(&report).expect("iperf3's JSON");
    let received = &report["end"]["sum_received"];
    assert!(
        received["bytes"].as_u64() > Some(0),
        "{}: {report}",
        lane.name()
    );
    received["bits_per_second"].as_f64().expect("a rate") / 1e9
}
