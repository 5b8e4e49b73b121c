//! A flood of SYNs from random clients towards a VIP: live frames, which the kernel sends out of the interface of
//! the balancer's neighbour as fast as a CPU makes them. It ends by itself.
//!
//! Clients are of 10.128.0.0/9, whose answers the router throws away. Behind the balancer most of the SYNs are
//! counted and thrown away too, so that not the servers' kernels are measured, on the same CPUs: they get one of
//! [`SHARE`], which fills their backlogs and makes them answer with cookies.
#![expect(clippy::disallowed_types, reason = "real frames take real time")]

use std::{
    fmt,
    net::SocketAddr,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData},
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp},
};
use lb_userspace::lab::{Middle, Namespace, Topology};
use nix::net::if_::if_nametoindex;

use crate::{
    frame::{Body, Frame, TcpHeader},
    kernel,
    packet::TCP,
};

/// Where clients are.
const CLIENTS: &str = "10.128.0.0/9";
/// Of so many SYNs behind the balancer the servers get one.
pub const SHARE: u32 = 64;
/// Bytes of a frame.
const LENGTH: usize = 64;
/// `Flood` of the bench's object: the frame, frames made, nanoseconds between them, when the next one is due.
const VALUE: usize = LENGTH + 3 * 8;
/// Runs in one call, which begins and ends with a wait for other CPUs, and frames that the kernel sends at a time.
const CALL: u32 = 1 << 17;
const BATCH: u32 = 64;

/// How much there is of it.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Frames.
    pub frames: u64,
    /// Time.
    pub time: Duration,
    /// From one frame to the next; none: as fast as a CPU makes them, which may be faster than another one takes
    /// them, so that a wire loses them together with what honest clients send.
    pub interval: Duration,
}

/// The way by a balancer, from its router to the switch behind it.
#[derive(Clone, Debug)]
pub struct Wire<'t> {
    pub(crate) topology: &'t Topology,
    pub(crate) router: &'t Namespace,
    /// The router's interface.
    pub(crate) interface: String,
    /// MAC addresses of that and of the balancer's.
    pub(crate) macs: [[u8; 6]; 2],
    /// The switch's port.
    pub(crate) port: &'static str,
}

impl<'t> Wire<'t> {
    /// By the balancer of a two-armed topology with a router.
    ///
    /// # Errors
    /// If there is no router.
    pub fn of(topology: &'t Topology) -> Result<Self> {
        let Middle {
            namespace, back, ..
        } = topology.router.as_ref().context("no router")?;
        Ok(Self {
            topology,
            router: namespace,
            interface: back.interface.clone(),
            macs: [back.mac, topology.balancer.front.mac],
            port: "balancer",
        })
    }
}

/// A flood; dropped, it stops.
#[derive(Debug)]
pub struct Flood<'t> {
    wire: Wire<'t>,
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<Duration>>>,
}

/// What a flood was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flooded {
    /// SYNs that were made.
    pub made: u64,
    /// Those that the balancer sent on.
    pub forwarded: u64,
    /// How long it took.
    pub time: Duration,
}

impl Flooded {
    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            made: self.made + other.made,
            forwarded: self.forwarded + other.forwarded,
            time: self.time + other.time,
        }
    }
}

impl fmt::Display for Flooded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a rate for people"
        )]
        let rate = |count: u64| (count as f64 / seconds) as u64;
        let (made, forwarded) = (self.made, self.forwarded);
        write!(
            f,
            "{made} SYNs in {seconds:.1} s, {} a second; {forwarded} sent on by the balancer, {} a second",
            rate(made),
            rate(forwarded)
        )
    }
}

impl<'t> Flood<'t> {
    /// Starts one towards a VIP, from the router.
    ///
    /// # Errors
    /// If the kernel does not send live frames (before 5.18).
    pub fn start(wire: Wire<'t>, vip: SocketAddr, bound: Bound) -> Result<Self> {
        wire.router
            .ip([format!("route replace blackhole {CLIENTS}")])?;
        wire.topology.switch.run(["nft", &sieve(wire.port)])?;
        let source = Source::load(&wire, vip, bound.interval)?;
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&made));
        let work = move || source.pour(bound, &stopped, &count);
        // A thread that is started inside stays inside.
        let thread = wire.router.enter(|| thread::spawn(work))?;
        Ok(Self {
            wire,
            stop,
            made,
            thread: Some(thread),
        })
    }

    /// SYNs that were made.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// SYNs that the balancer sent on.
    ///
    /// # Errors
    /// If they cannot be counted.
    pub fn forwarded(&self) -> Result<u64> {
        let shown = self
            .wire
            .topology
            .switch
            .run(["nft", "list", "table", "netdev", "flood"])?;
        let mut words = shown.split_whitespace();
        words.find(|word| *word == "packets");
        let count = words.next().context("no counter")?;
        Ok(count.parse()?)
    }

    /// Stops it.
    ///
    /// # Errors
    /// If a frame could not be sent.
    ///
    /// # Panics
    /// If it did.
    pub fn stop(mut self) -> Result<Flooded> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("stopped before")?;
        let time = thread.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        Ok(Flooded {
            made: self.made(),
            forwarded: self.forwarded()?,
            time,
        })
    }
}

impl Drop for Flood<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What counts SYNs behind the balancer, and lets few of them on.
fn sieve(port: &str) -> String {
    let flood = format!("ip saddr {CLIENTS}");
    format!(
        "table netdev flood {{}}; delete table netdev flood; table netdev flood {{ chain in {{ \
         type filter hook ingress device {port} priority 0; {flood} counter; \
         {flood} numgen random mod {SHARE} != 0 drop; }}; }}"
    )
}

/// Where frames come from.
struct Source {
    object: Ebpf,
    map: Array<MapData, [u8; VALUE]>,
    frame: Vec<u8>,
    context: [u8; 24],
}

impl Source {
    fn load(wire: &Wire<'_>, vip: SocketAddr, interval: Duration) -> Result<Self> {
        let [from, to] = wire.macs;
        let frame = syn(from, to, vip);
        if frame.len() != LENGTH {
            bail!("a frame of {} bytes, expected {LENGTH}", frame.len());
        }
        let mut object = EbpfLoader::new().load(&kernel::object("bench"))?;
        program(&mut object)?.load()?;
        let map = object.take_map("FLOOD").context("no map FLOOD")?;
        let mut map: Array<MapData, [u8; VALUE]> = map.try_into()?;
        let mut value = [0; VALUE];
        value[..LENGTH].copy_from_slice(&frame);
        let interval = u64::try_from(interval.as_nanos())?;
        value[LENGTH + 8..LENGTH + 16].copy_from_slice(&interval.to_ne_bytes());
        map.set(0, value, 0)?;
        let interface = wire
            .router
            .enter(|| if_nametoindex(wire.interface.as_str()))??;
        Ok(Self {
            object,
            map,
            frame,
            context: context(interface),
        })
    }

    /// Makes frames until enough are made, or it takes too long, or it is stopped; how long it took. A call is
    /// always finished.
    fn pour(mut self, bound: Bound, stop: &AtomicBool, made: &AtomicU64) -> Result<Duration> {
        let began = Instant::now();
        let program = program(&mut self.object)?;
        let mut count = 0;
        while count < bound.frames && began.elapsed() < bound.time && !stop.load(Ordering::Relaxed)
        {
            let options = TestRunOptions {
                data_in: Some(&self.frame),
                ctx_in: Some(&self.context),
                repeat: CALL,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::default()
            };
            let sent = program.test_run(options);
            sent.context("cannot send live frames, for which Linux 5.18 or later is needed")?;
            let value = self.map.get(&0, 0)?;
            count = u64::from_ne_bytes(*value[LENGTH..].first_chunk().context("no count")?);
            made.store(count, Ordering::Relaxed);
        }
        Ok(began.elapsed())
    }
}

fn program(object: &mut Ebpf) -> Result<&mut Xdp> {
    let program = object.program_mut("flood").context("no program flood")?;
    Ok(program.try_into()?)
}

/// A SYN whose source address, source port and sequence number are 0. What it carries makes it as long as the
/// program wants it; a server without TCP Fast Open does not look at that.
fn syn(from: [u8; 6], to: [u8; 6], vip: SocketAddr) -> Vec<u8> {
    let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
    let header = TcpHeader {
        syn: true,
        ..TcpHeader::new(0, 0, 0, 64_240)
    };
    let frame = Frame {
        from,
        to,
        body: Body::Tcp(header),
        payload: vec![0; LENGTH - 54],
        ..Frame::new(TCP, nobody, vip)
    };
    frame.bytes()
}

/// `struct xdp_md`: where the frame ends, and the interface that it came in by.
fn context(interface: u32) -> [u8; 24] {
    let mut context = [0; 24];
    context[4..8].copy_from_slice(&(LENGTH as u32).to_ne_bytes());
    context[12..16].copy_from_slice(&interface.to_ne_bytes());
    context
}
