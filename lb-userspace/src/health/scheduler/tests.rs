//! Time logic under a paused clock, with a network that the test scripts; and once the real one.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use proptest::{prelude::*, test_runner::TestRunner};
use tokio::time::{sleep, timeout};

use super::*;
use crate::{
    config::model,
    health::{Health, Outcome, Transition, probe::Asked},
};

const CONCURRENCY: usize = 256;
const INTERVAL: Duration = Duration::from_millis(200);

#[tokio::test(start_paused = true)]
async fn a_dead_backend_is_seen_in_time() {
    for outcome in [Outcome::Refused, Outcome::Unreachable, Outcome::Timeout] {
        let network = Network::default();
        let (mut prober, mut events) = Prober::new(network.clone(), CONCURRENCY, |_| ());
        prober.set_targets(vec![target("web", 1, Health::Up)]);
        sleep(Duration::from_secs(3)).await;

        network.answer(1, outcome);
        let died = Instant::now();
        let event = next_transition(&mut events).await;
        assert_eq!(event.transition.unwrap().to, Health::Down);
        // Two probes, one tenth late, and the time-out of the last.
        assert!(event.at - died <= INTERVAL * 2 + INTERVAL / 5 + INTERVAL);
    }
}

#[tokio::test(start_paused = true)]
async fn it_rises_after_its_row() {
    let network = Network::default();
    network.answer(1, Outcome::Refused);
    let (mut prober, mut events) = Prober::new(network.clone(), CONCURRENCY, |_| ());
    prober.set_targets(vec![target("web", 1, Health::Unknown)]);
    let first = next_transition(&mut events).await;
    assert_eq!(
        first.transition,
        Some(Transition {
            from: Health::Unknown,
            to: Health::Down
        })
    );

    network.answer(1, Outcome::Ok);
    let asked = network.asked(1);
    let second = next_transition(&mut events).await;
    assert_eq!(second.transition.unwrap().to, Health::Up);
    assert_eq!(network.asked(1) - asked, 2, "rise is 2");
    let report = prober.reports().of("web", address(1)).unwrap();
    assert_eq!((report.health, report.since), (Health::Up, second.at));
    assert_eq!(report.last.unwrap().outcome, Outcome::Ok);
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_that_of_the_interval() {
    let network = Network::default();
    let (mut prober, _events) = Prober::new(network.clone(), CONCURRENCY, |_| ());
    prober.set_targets((1..=50).map(|n| target("web", n, Health::Up)).collect());
    sleep(INTERVAL * 100).await;
    for n in 1..=50 {
        assert!(
            (97..=104).contains(&network.asked(n)),
            "{}",
            network.asked(n)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_dead_are_asked_less_and_less_and_what_is_in_doubt_more() {
    let network = Network::default();
    network.answer(1, Outcome::Refused);
    let (mut prober, mut events) = Prober::new(network.clone(), CONCURRENCY, |_| ());
    let mut target = target("web", 1, Health::Up);
    target.probe.fast_interval = INTERVAL / 10;
    target.probe.max_interval = INTERVAL * 8;
    target.probe.rise = 5;
    prober.set_targets(vec![target]);
    let fallen = next_transition(&mut events).await;
    sleep(INTERVAL * 100).await;
    assert!(
        (13..=18).contains(&network.asked(1)),
        "{}",
        network.asked(1)
    );
    network.answer(1, Outcome::Ok);
    let asked = network.asked(1);
    let risen = next_transition(&mut events).await;
    assert_eq!(network.asked(1) - asked, 5);
    // At most one long wait, and then four short ones.
    assert!(risen.at - fallen.at < INTERVAL * 111);
}

#[tokio::test(start_paused = true)]
async fn services_share_a_question_and_judge_it_apart() {
    let network = Network::default();
    let (mut prober, mut events) = Prober::new(network.clone(), CONCURRENCY, |_| ());
    let mut patient = target("patient", 1, Health::Up);
    patient.probe.fall = 5;
    prober.set_targets(vec![target("web", 1, Health::Up), patient.clone()]);
    sleep(Duration::from_secs(1)).await;
    assert!(network.asked(1) <= 7, "asked once for both");

    network.answer(1, Outcome::Refused);
    let asked = network.asked(1);
    assert_eq!(next_transition(&mut events).await.service, "web".into());
    assert_eq!(network.asked(1) - asked, 2);
    assert_eq!(next_transition(&mut events).await.service, "patient".into());
    assert_eq!(network.asked(1) - asked, 5);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_takes_the_known_answer() {
    let network = Network::default();
    let (mut prober, mut events) = Prober::new(network.clone(), CONCURRENCY, |_| ());
    let first = target("web", 1, Health::Up);
    prober.set_targets(vec![first.clone()]);
    sleep(Duration::from_secs(1)).await;

    let asked = network.asked(1);
    prober.set_targets(vec![first, target("api", 1, Health::Unknown)]);
    let event = next_transition(&mut events).await;
    assert_eq!((&*event.service, network.asked(1)), ("api", asked));
}

#[tokio::test(start_paused = true)]
async fn the_last_probes_are_remembered_with_their_times() {
    let network = Network::default();
    let (mut prober, mut events) = Prober::new(network.clone(), CONCURRENCY, |_| ());
    let mut web = target("web", 1, Health::Up);
    prober.set_targets(vec![web.clone()]);
    sleep(INTERVAL * 20).await;
    network.answer(1, Outcome::Status(503));
    let fallen = next_transition(&mut events).await;
    web.probe.port = Some(9);
    prober.set_targets(vec![web.clone()]);
    let probes = prober.reports().probes("web", web.backend);
    let outcomes: Vec<Outcome> = probes.iter().map(|probe| probe.outcome).collect();
    assert_eq!(outcomes[..2], [Outcome::Status(503); 2]);
    assert!(outcomes[2..].iter().all(|outcome| *outcome == Outcome::Ok));
    assert_eq!((probes[0].at, probes.len()), (fallen.at, 12));
    assert!(probes.is_sorted_by(|later, earlier| later.at > earlier.at));
    assert_eq!(prober.reports().probes("web", address(2)), []);
}

#[tokio::test(start_paused = true)]
async fn other_parameters_keep_the_state() {
    let network = Network::default();
    let (mut prober, mut events) = Prober::new(network.clone(), CONCURRENCY, |_| ());
    let mut web = target("web", 1, Health::Unknown);
    prober.set_targets(vec![web.clone()]);
    next_transition(&mut events).await;
    let before = prober.reports().of("web", web.backend).unwrap();

    web.probe.interval = INTERVAL * 5;
    web.probe.fast_interval = INTERVAL * 5;
    web.probe.port = Some(9);
    web.initial = Health::Down;
    prober.set_targets(vec![web.clone()]);
    assert_eq!(prober.reports().of("web", web.backend).unwrap(), before);
    let asked = network.asked(1);
    sleep(INTERVAL * 50).await;
    assert!((9..=13).contains(&(network.asked(1) - asked)));
    assert_eq!(network.ports.lock().unwrap().last(), Some(&9));
}

#[tokio::test(start_paused = true)]
async fn a_removed_target_is_forgotten() {
    let (network, ended) = (Network::default(), Ended::default());
    let (mut prober, mut events) = Prober::new(network.clone(), CONCURRENCY, ended.hook());
    prober.set_targets(vec![
        target("web", 1, Health::Up),
        target("web", 2, Health::Up),
    ]);
    sleep(Duration::from_secs(1)).await;
    prober.set_targets(vec![target("web", 2, Health::Up)]);
    let asked = network.asked(1);
    ended.take();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(network.asked(1), asked);
    assert!(prober.reports().of("web", address(1)).is_none());
    let ended = ended.take();
    assert!(ended.len() >= 4 && ended.iter().all(|event| event.backend == address(2)));
    assert!(events.try_recv().is_err(), "nothing changed");

    drop(prober);
    while events.recv().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn at_most_so_many_at_a_time() {
    let (network, ended) = (Network::default(), Ended::default());
    (1..=200).for_each(|n| network.answer(n, Outcome::Timeout));
    let (mut prober, _events) = Prober::new(network.clone(), 16, ended.hook());
    prober.set_targets(
        (1..=200)
            .map(|n| target("web", n, Health::Unknown))
            .collect(),
    );
    sleep(INTERVAL * 30).await;
    assert_eq!(network.most.load(Ordering::Relaxed), 16);
    // 16 at a time, each for a whole time-out: none starves.
    let asked: Vec<_> = (1..=200).map(|n| network.asked(n)).collect();
    assert!(asked.iter().all(|&n| n >= 1), "{asked:?}");
    // The last ones waited for the others.
    assert!(ended.take().iter().any(|event| event.late >= INTERVAL));
}

#[tokio::test(start_paused = true)]
async fn those_that_hang_keep_nobody_waiting() {
    let (network, ended) = (Network::default(), Ended::default());
    (1..=200).for_each(|n| network.answer(n, Outcome::Timeout));
    let (mut prober, mut events) = Prober::new(network.clone(), CONCURRENCY, ended.hook());
    let targets = (1..=220).map(|n| target("web", n, Health::Unknown));
    prober.set_targets(targets.collect());
    sleep(INTERVAL * 10).await;
    let probes = ended.take();
    assert!(probes.iter().all(|event| event.late < INTERVAL / 10));
    // One of those that answer dies: it is the next to fall.
    while events.try_recv().is_ok() {}
    network.answer(210, Outcome::Refused);
    assert_eq!(next_transition(&mut events).await.backend, address(210));
    let asked: Vec<_> = (1..=220).map(|n| network.asked(n)).collect();
    assert!(asked.iter().all(|&n| n >= 9), "{asked:?}");
}

/// Whichever of three it is that fails, however, and however soon it is asked again when in doubt.
#[tokio::test(start_paused = true)]
async fn one_failed_probe_in_three_changes_nothing_in_ten_minutes() {
    const MINUTES: Duration = Duration::from_mins(10);
    let failures = [Outcome::Refused, Outcome::Timeout, Outcome::Unreachable];
    let network = Network::default();
    let (mut prober, mut events) = Prober::new(network.clone(), CONCURRENCY, |_| ());
    let mut targets = Vec::new();
    for (failure, place, fast) in failures
        .into_iter()
        .flat_map(|failure| (0..3).map(move |place| (failure, place)))
        .flat_map(|(failure, place)| [1, 4].map(|fast| (failure, place, fast)))
    {
        let number = u8::try_from(targets.len() + 1).unwrap();
        let mut pattern = vec![Outcome::Ok; 3];
        pattern[place] = failure;
        network.repeat(number, pattern);
        targets.push(patient(number, fast));
    }
    prober.set_targets(targets.clone());
    sleep(MINUTES).await;
    while let Ok(event) = events.try_recv() {
        assert_eq!(event.transition, None, "{event:?}");
    }
    for target in &targets {
        let report = prober.reports().of("web", target.backend).unwrap();
        assert_eq!(report.health, Health::Up);
        let SocketAddr::V4(address) = target.backend else {
            panic!("{target:?}");
        };
        let asked = network.asked(address.ip().octets()[3]);
        assert!(asked >= 540, "asked {asked} times in ten minutes");
    }
}

/// The same network takes one out that fails three times in a row.
#[tokio::test(start_paused = true)]
async fn three_failed_probes_in_a_row_of_four_take_a_backend_out() {
    let network = Network::default();
    let (mut prober, mut events) = Prober::new(network.clone(), CONCURRENCY, |_| ());
    let failed = Outcome::Refused;
    network.repeat(1, vec![Outcome::Ok, failed, failed, failed]);
    prober.set_targets(vec![patient(1, 1)]);
    let event = next_transition(&mut events).await;
    assert_eq!(event.transition.unwrap().to, Health::Down);
    assert_eq!(network.asked(1), 4);
}

/// Asked each second, and so many times as often while in doubt; out after three failures.
fn patient(number: u8, fast: u32) -> Target {
    let mut target = target("web", number, Health::Up);
    let second = Duration::from_secs(1);
    target.probe.interval = second;
    target.probe.fast_interval = second / fast;
    target.probe.down_interval = second;
    target.probe.max_interval = second;
    target.probe.fall = 3;
    target
}

#[tokio::test(start_paused = true)]
async fn who_falls_again_and_again_is_kept_out_for_a_while() {
    let network = Network::default();
    let (mut prober, mut events) = Prober::new(network.clone(), CONCURRENCY, |_| ());
    let mut damped = target("web", 1, Health::Up);
    let rules = model::Damping {
        half_life: Duration::from_mins(1),
        suppress: 2500,
        reuse: 1000,
        max: Duration::from_mins(4),
    };
    damped.damping = Some(rules);
    prober.set_targets(vec![damped.clone(), target("api", 1, Health::Up)]);
    let mut rises = Vec::new();
    for _ in 0..3 {
        for (outcome, to) in [(Outcome::Refused, Health::Down), (Outcome::Ok, Health::Up)] {
            network.answer(1, outcome);
            let mut changed = next_transition(&mut events).await;
            while *changed.service != *"web" {
                changed = next_transition(&mut events).await;
            }
            assert_eq!(changed.transition.unwrap().to, to);
            rises.push((changed.rises, changed.suppressed));
        }
    }
    let [down, up] = [(false, None), (true, None)];
    let (kept_out, still) = ((false, Some(true)), (false, None));
    assert_eq!(rises, [down, up, down, up, kept_out, still]);
    let report = |service| prober.reports().of(service, address(1)).unwrap();
    assert_eq!(
        (report("web").health, report("api").penalty),
        (Health::Up, None)
    );
    assert!(report("web").penalty.unwrap().is_suppressed());

    let since = Instant::now();
    let reused = loop {
        let event = events.recv().await.unwrap();
        if event.suppressed.is_some() {
            break event;
        }
    };
    assert_eq!((reused.suppressed, reused.rises), (Some(false), true));
    assert_eq!(reused.transition, None);
    assert!(since.elapsed() <= rules.max + INTERVAL * 2);
}

/// Whatever it answers: who never falls is never kept out, and who falls no more is back within the hold time.
#[test]
fn nobody_is_kept_out_without_falls_or_for_ever() {
    let steps = prop::collection::vec((any::<bool>(), 0u64..900), 1..40);
    TestRunner::default()
        .run(&(steps, 1_u32..4), |(steps, falls)| {
            runtime().block_on(flap(steps, falls));
            Ok(())
        })
        .unwrap();
}

async fn flap(steps: Vec<(bool, u64)>, falls: u32) {
    let network = Network::default();
    let (mut prober, mut events) = Prober::new(network.clone(), 2, |_| ());
    let mut damped = target("web", 1, Health::Up);
    let rules = model::Damping {
        half_life: Duration::from_secs(10),
        suppress: 1000 * falls,
        reuse: 500,
        max: Duration::from_secs(30),
    };
    damped.damping = Some(rules);
    prober.set_targets(vec![damped]);
    let is_suppressed = |prober: &Prober<Network>| {
        let report = prober.reports().of("web", address(1)).unwrap();
        report.penalty.unwrap().is_suppressed()
    };
    let mut fallen = 0;
    for (good, millis) in steps {
        network.answer(1, if good { Outcome::Ok } else { Outcome::Refused });
        sleep(Duration::from_millis(millis)).await;
        while let Ok(event) = events.try_recv() {
            let to = event.transition.map(|it| it.to);
            fallen += u32::from(to == Some(Health::Down));
        }
        assert!(fallen >= falls || !is_suppressed(&prober));
    }
    network.answer(1, Outcome::Ok);
    sleep(rules.max + INTERVAL * 4).await;
    assert!(!is_suppressed(&prober));
    let report = prober.reports().of("web", address(1)).unwrap();
    assert_eq!(report.health, Health::Up);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

#[test]
fn events_and_reports_tell_the_same_story() {
    let steps = prop::collection::vec((1u8..5, any::<bool>(), 0u64..900), 1..20);
    TestRunner::default()
        .run(&steps, |steps| {
            runtime().block_on(replay(steps));
            Ok(())
        })
        .unwrap();
}

/// Whatever the network does: following the events leads to the states that the reports give.
async fn replay(steps: Vec<(u8, bool, u64)>) {
    let network = Network::default();
    let (mut prober, mut events) = Prober::new(network.clone(), 2, |_| ());
    prober.set_targets((1..5).map(|n| target("web", n, Health::Unknown)).collect());
    let mut states = BTreeMap::new();
    for (n, good, millis) in steps {
        network.answer(n, if good { Outcome::Ok } else { Outcome::Refused });
        sleep(Duration::from_millis(millis)).await;
        while let Ok(event) = events.try_recv() {
            if let Some(Transition { from, to }) = event.transition {
                let before = states.insert(event.backend, to).unwrap_or(Health::Unknown);
                assert_eq!(before, from);
            }
        }
        for report in prober.reports().all() {
            let followed = states
                .get(&report.backend)
                .copied()
                .unwrap_or(Health::Unknown);
            assert_eq!(report.health, followed);
        }
    }
}

#[tokio::test]
async fn real_connects_follow_a_real_listener() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = listener.local_addr().unwrap();
    let (mut prober, mut events) = Prober::new(Kinds::default(), CONCURRENCY, |_| ());
    let target = Target {
        via: None,
        backend,
        ..target("web", 1, Health::Unknown)
    };
    prober.set_targets(vec![target]);
    assert_eq!(next_transition(&mut events).await.outcome, Outcome::Ok);
    drop(listener);
    assert_eq!(next_transition(&mut events).await.outcome, Outcome::Refused);
    let _listener = std::net::TcpListener::bind(backend).unwrap();
    assert_eq!(next_transition(&mut events).await.outcome, Outcome::Ok);
}

/// Backends 10.0.0.1 to 10.0.0.255 that answer as the test says: at once, or never.
#[derive(Clone, Debug, Default)]
struct Network {
    /// One after the other, again and again.
    outcomes: Arc<Mutex<BTreeMap<u8, Vec<Outcome>>>>,
    asked: Arc<Mutex<BTreeMap<u8, usize>>>,
    ports: Arc<Mutex<Vec<u16>>>,
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Network {
    fn answer(&self, backend: u8, outcome: Outcome) {
        self.repeat(backend, vec![outcome]);
    }

    fn repeat(&self, backend: u8, outcomes: Vec<Outcome>) {
        self.outcomes.lock().unwrap().insert(backend, outcomes);
    }

    fn asked(&self, backend: u8) -> usize {
        self.asked
            .lock()
            .unwrap()
            .get(&backend)
            .copied()
            .unwrap_or(0)
    }
}

impl Probe for Network {
    async fn probe(&self, asked: &Asked) -> Answer {
        let Asked {
            address, timeout, ..
        } = *asked;
        let SocketAddr::V4(v4) = address else {
            panic!("{address}");
        };
        let [.., backend] = v4.ip().octets();
        let before = self.asked(backend);
        self.asked.lock().unwrap().insert(backend, before + 1);
        self.ports.lock().unwrap().push(address.port());
        let outcome = match self.outcomes.lock().unwrap().get(&backend) {
            Some(outcomes) => outcomes[before % outcomes.len()],
            None => Outcome::Ok,
        };
        let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(running, Ordering::Relaxed);
        let latency = match outcome {
            Outcome::Timeout => timeout,
            _ => Duration::from_millis(1),
        };
        sleep(latency).await;
        self.running.fetch_sub(1, Ordering::Relaxed);
        Answer {
            outcome,
            latency,
            advice: None,
        }
    }
}

/// Ends of probes, as they come.
#[derive(Clone, Default)]
struct Ended(Arc<Mutex<Vec<Event>>>);

impl Ended {
    fn hook(&self) -> impl Fn(&Event) + use<> {
        let ended = Arc::clone(&self.0);
        move |event| ended.lock().unwrap().push(event.clone())
    }

    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

async fn next_transition(events: &mut UnboundedReceiver<Event>) -> Event {
    let wait = async {
        loop {
            let event = events.recv().await.unwrap();
            if event.transition.is_some() {
                return event;
            }
        }
    };
    timeout(Duration::from_secs(30), wait).await.unwrap()
}

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 80))
}

fn target(service: &str, n: u8, initial: Health) -> Target {
    Target {
        via: None,
        service: service.to_owned(),
        backend: address(n),
        probe: model::Probe {
            check: Arc::default(),
            port: None,
            interval: INTERVAL,
            fast_interval: INTERVAL,
            down_interval: INTERVAL,
            max_interval: INTERVAL,
            timeout: INTERVAL,
            rise: 2,
            fall: 2,
            via_vip: model::Path::Off,
            start: model::Start::Down,
            feedback: None,
        },
        most_out: usize::MAX,
        initial,
        damping: None,
    }
}
