//! How soon the data path follows a change, on the kernel's own maps and the daemon's own way to
//! them.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use lb_tests::daemon::PinFolder;
use lb_userspace::{
    config::{self, model::Vip},
    daemon::Host,
    dataplane::{Dataplane, Settings},
    desired::{
        self, Inputs,
        overrides::{Effective, Overrides},
    },
    health::Health,
    net::{Follower, View},
};
use tempfile::TempDir;

use crate::{
    figures::{median, ms, timed},
    fleet::{BACKENDS, Fleet, Lan, SLOTS, backend},
};

const ROUNDS: u8 = 25;

/// Prints the table.
pub(crate) fn print() {
    println!("a change in one service, {SLOTS} slots, {BACKENDS} backends: milliseconds from the");
    println!("decision until all of it is in the kernel's maps, the desired state's building, the");
    println!(
        "file's parsing (of edits) and the wait for a grace period (where something was freed)"
    );
    println!("included; median and longest of {ROUNDS}\n");
    println!(
        "{:<34} {:>20} {:>20}",
        "", "1 service in all", "10 services in all"
    );
    let [one, ten] = [1, 10].map(measure);
    for (one, ten) in one.iter().zip(&ten) {
        println!("{:<34} {:>20} {:>20}", one.name, one.cell(), ten.cell());
    }
    println!();
}

/// The times of one kind of change.
struct Change {
    name: &'static str,
    times: Vec<Duration>,
}

impl Change {
    fn cell(&self) -> String {
        let longest = self.times.iter().max().copied().unwrap_or_default();
        format!("{:.2} ({:.2})", ms(median(&self.times)), ms(longest))
    }
}

fn measure(services: u16) -> Vec<Change> {
    let lan = Lan::new().expect("namespaces");
    let measure = || {
        let mut balancer = Balancer::start(services);
        let healths = balancer.flaps();
        let weights = balancer.edits(["weight 1 to 2", "weight 2 to 1"], |fleet| fleet.weight = 2);
        let added = balancer.edits(["backend added", "backend removed"], |fleet| {
            fleet.backends += 1;
        });
        [healths, weights, added].into_iter().flatten().collect()
    };
    lan.balancer.enter(measure).expect("the namespace")
}

/// A data path, and what the daemon knows when it drives it.
struct Balancer {
    fleet: Fleet,
    view: Arc<View>,
    host: Host,
    effective: Effective,
    down: BTreeSet<SocketAddr>,
    dataplane: Dataplane,
    _pins: PinFolder,
    _run: TempDir,
}

impl Balancer {
    /// In the namespace of the calling thread.
    fn start(services: u16) -> Self {
        let fleet = Fleet::new(services);
        let pins = PinFolder::new().expect("a folder for pins");
        let run = tempfile::tempdir().expect("a folder for the lock");
        let settings = Settings {
            pins: pins.path().join("bench"),
            lock: run.path().join("lock"),
            ephemeral: false,
        };
        let (effective, view) = (parse(fleet), view());
        let (dataplane, _) =
            Dataplane::open(&settings, &effective.config, None).expect("a data path");
        let mut balancer = Self {
            fleet,
            host: Host::try_new(Arc::clone(&view), &[]).expect("no `direct` prefixes"),
            view,
            effective,
            down: BTreeSet::new(),
            dataplane,
            _pins: pins,
            _run: run,
        };
        balancer.settle();
        balancer.attach();
        assert_eq!(balancer.service().shares().values().sum::<u32>(), SLOTS);
        balancer
    }

    /// As the daemon does after every change: the whole desired state, then the difference. Rows
    /// that changed hands.
    fn settle(&mut self) -> usize {
        let state = desired::build(&Inputs {
            effective: &self.effective,
            health: |_, address| {
                if self.down.contains(&address) {
                    Health::Down
                } else {
                    Health::Up
                }
            },
            network: &self.host,
            tracks: true,
            parts: &desired::Parts::new(),
            guests: &desired::Guests::new(),
            probe_link: None,
        });
        let state = state.expect("no `direct` prefixes");
        self.dataplane.reconcile(&state).expect("it fits").rows
    }

    fn attach(&self) {
        let interfaces = &self.effective.config.interfaces;
        self.dataplane.attach(interfaces).expect("native XDP");
    }

    /// Backends of the first service die and return, one after the other.
    fn flaps(&mut self) -> [Change; 2] {
        let (downs, ups) = (0..ROUNDS).map(|number| self.flap(number)).unzip();
        [("backend dies", downs), ("backend returns", ups)]
            .map(|(name, times)| Change { name, times })
    }

    fn flap(&mut self, number: u8) -> (Duration, Duration) {
        let (before, address) = (self.checksum(), backend(0, number));
        let owned = self.share(address);
        let (lost, down) = timed(|| {
            self.down.insert(address);
            self.settle()
        });
        assert_eq!((lost, self.share(address)), (owned, 0));
        let (gained, up) = timed(|| {
            self.down.remove(&address);
            self.settle()
        });
        assert_eq!((gained, self.checksum()), (owned, before));
        (down, up)
    }

    /// The file is edited, and edited back.
    fn edits(&mut self, names: [&'static str; 2], edit: impl Fn(&mut Fleet)) -> [Change; 2] {
        let before = self.checksum();
        let (mut there, original) = (self.fleet, self.fleet);
        edit(&mut there);
        let (theres, backs) = (0..ROUNDS)
            .map(|_| {
                let (moved, time) = self.apply(there);
                assert!(moved > 0 && self.checksum() != before);
                let (moved_back, time_back) = self.apply(original);
                assert_eq!((moved_back > 0, self.checksum()), (true, before));
                (time, time_back)
            })
            .unzip();
        let [name, name_back] = names;
        [(name, theres), (name_back, backs)].map(|(name, times)| Change { name, times })
    }

    /// As `xlb apply` does, but for what it keeps on disk.
    fn apply(&mut self, fleet: Fleet) -> (usize, Duration) {
        timed(|| {
            self.effective = parse(fleet);
            self.host = Host::try_new(Arc::clone(&self.view), &[]).expect("no `direct` prefixes");
            let moved = self.settle();
            self.attach();
            moved
        })
    }

    fn checksum(&self) -> u64 {
        self.service().checksum().expect("known")
    }

    /// Rows that a backend of the first service owns.
    fn share(&self, address: SocketAddr) -> usize {
        let service = self.service();
        let mut backends = service.backends();
        let pair = backends.find(|(_, entry)| entry.address == address);
        let (pair, _) = pair.expect("a backend");
        service.shares().get(&pair).copied().unwrap_or(0) as usize
    }

    fn service(&self) -> &desired::InstalledService {
        let installed = self.dataplane.installed();
        installed.service(self.vip()).expect("it is installed")
    }

    fn vip(&self) -> Vip {
        let mut services = self.effective.config.services.iter();
        services.next().expect("a service").vip
    }
}

fn parse(fleet: Fleet) -> Effective {
    let parsed = config::parse("bench.yaml", fleet.yaml().as_bytes());
    let config = parsed.unwrap_or_else(|report| panic!("{}", report.render(false)));
    Overrides::default().apply(&config.config)
}

/// The namespace's network.
fn view() -> Arc<View> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let view = runtime.block_on(async { Follower::start().await.map(|follower| follower.view()) });
    view.expect("rtnetlink")
}
