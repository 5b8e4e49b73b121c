//! Short connections, one after the other.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use tokio::time::Instant;

use super::{client::visit, lanes::Lane, server::Server};

/// Threads that connect: a multiple of the backends.
const CLIENTS: u32 = 6;
const TIME: Duration = Duration::from_secs(1);
/// At most, in all.
const MOST: u32 = 100_000;

/// Connections per second: established, answered and closed. None may fail, and each backend must
/// get its share.
pub(super) fn per_second(lane: &Lane) -> f64 {
    let before = answered(lane);
    let begun = AtomicU32::new(0);
    let start = Instant::now();
    let client = |number: u32| {
        let mut done = 0_u32;
        while start.elapsed() < TIME && begun.fetch_add(1, Ordering::Relaxed) < MOST {
            visit(lane.short(number + done), b"")
                .unwrap_or_else(|error| panic!("{}: {error}", lane.name()));
            done += 1;
        }
        done
    };
    let all_clients = || {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| scope.spawn(move || client(number)))
                .collect();
            let done = clients.into_iter().map(thread::ScopedJoinHandle::join);
            done.map(|done| done.expect("no failed connection")).sum()
        })
    };
    let done: u32 = lane
        .topology
        .client
        .namespace
        .enter(all_clients)
        .expect("the namespace");
    let took = start.elapsed();
    check(lane, &before, done);
    f64::from(done) / took.as_secs_f64()
}

fn answered(lane: &Lane) -> Vec<u32> {
    lane.servers.iter().map(Server::answered).collect()
}

/// Every connection was answered by a backend, and no backend by far more or less than the others.
fn check(lane: &Lane, before: &[u32], done: u32) {
    let after = answered(lane);
    let shares: Vec<u32> = after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .collect();
    assert_eq!(shares.iter().sum::<u32>(), done, "{}", lane.name());
    let is_fair = |share: &u32| (done / 4..=done / 2).contains(share);
    assert!(
        shares.iter().all(is_fair),
        "{}: {shares:?} of {done}",
        lane.name()
    );
}
