//! What connections cost that a loop makes which does nothing else: the kernel's part of a probe.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

use crate::fleet::{Lan, WIDE_PORT};

const A_SECOND: u32 = 10_000;
const LENGTH: Duration = Duration::from_secs(5);
/// Between two looks at the clock; as late is a connection looked at.
const TICK: Duration = Duration::from_millis(1);

/// Part of one core that so many connections a second take, each opened, looked at and reset.
pub(super) fn measure(lan: &Lan) -> f64 {
    lan.balancer.enter(connect).expect("the namespace")
}

fn connect() -> f64 {
    let (begun, used) = (Instant::now(), processor());
    let (mut open, mut made) = (Vec::new(), 0);
    while begun.elapsed() < LENGTH {
        for socket in open.drain(..) {
            let socket: Socket = socket;
            let error = socket.take_error().expect("it is a socket");
            assert!(error.is_none(), "{error:?}");
        }
        let due = begun.elapsed().as_secs_f64() * f64::from(A_SECOND);
        while f64::from(made) < due {
            open.push(begin(made % A_SECOND));
            made += 1;
        }
        thread::sleep(TICK);
    }
    processor().saturating_sub(used).as_secs_f64() / begun.elapsed().as_secs_f64()
}

/// Begins to connect to a host.
fn begin(host: u32) -> Socket {
    let address = SocketAddr::from((Ipv4Addr::from_bits(0x0a01_0000 + host), WIDE_PORT));
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).expect("a socket");
    socket.set_linger(Some(Duration::ZERO)).expect("an option");
    // That it goes on is an error, too.
    drop(socket.connect(&address.into()));
    socket
}

/// Time that this thread has run.
fn processor() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("the thread runs");
    let nanos = text.split(' ').next().expect("a field");
    Duration::from_nanos(nanos.parse().expect("a number"))
}
