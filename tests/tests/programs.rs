//! Every program of the object loads with every set of constants that the daemon may give it, within a
//! budget of instructions that the verifier walks.
//!
//! The numbers differ from kernel to kernel: `cargo xtask test-kernels` shows them.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests panic, so that the place is known, and show their numbers"
)]

use std::{
    num::NonZero,
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, available_parallelism},
};

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    programs::{Program, ProgramError, Xdp},
    util::KernelVersion,
};
use lb_common::{
    backend::Mode,
    datapath::Detour,
    maps::{Constants, Feature, Globals},
};
use lb_tests::kernel::object;
use lb_userspace::dataplane::tracks_flows;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use zerocopy::FromZeros as _;

/// Three quarters of what the kernel takes (`BPF_COMPLEXITY_LIMIT_INSNS` of Linux 5.2 and later): what one
/// kernel walks in less another may in more.
const BUDGET_INSTRUCTIONS: u32 = 750_000;

#[test]
fn every_program_loads_with_every_set_of_constants() {
    let (variants, next) = (variants(), AtomicUsize::new(0));
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some((variant, constants)) = variants.get(n) else {
                break;
            };
            load_all(variant, *constants, n == 0);
        }
    };
    // An older kernel is asked by way of a limit of the process.
    let threads = if remembers() {
        available_parallelism().map_or(1, NonZero::get)
    } else {
        1
    };
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
}

fn load_all(variant: &str, mut constants: Constants, first: bool) {
    // As the daemon does: wherever the kernel can.
    if tracks_flows() {
        constants.features |= Feature::Tracking as u32;
    }
    let mut object = load(constants);
    for (name, program) in object.programs_mut() {
        let Program::Xdp(program) = program else {
            panic!("{name}: a kind of program that is not known here");
        };
        if !is_loaded(name, &constants, first) {
            continue;
        }
        let walked = walked(program, &format!("{name} ({variant})"));
        println!("\nprogram {name} ({variant}): {walked} instructions walked");
        assert!(
            walked <= BUDGET_INSTRUCTIONS,
            "{name} ({variant}): {walked}"
        );
    }
}

/// As the daemon does. Programs that these constants do not change, once are enough.
fn is_loaded(name: &str, constants: &Constants, first: bool) -> bool {
    let mut detours = Detour::ALL.into_iter();
    detours
        .find(|detour| detour.program(constants) == name)
        .map_or(first, |detour| detour.is_used(constants))
}

/// What a configuration may use: families; modes, alone and together, with every feature and without;
/// features alone and together, without ICMP errors. The hardest first.
fn variants() -> Vec<(String, Constants)> {
    let every_mode = Mode::ALL.iter().fold(0, |modes, mode| modes | mode.bit());
    let every_feature = FEATURES.iter().fold(0, |all, (feature, _)| all | feature);
    let hardest = Constants {
        set_shift: 58,
        ipv6: 1,
        ipv4: 1,
        fib: 1,
        modes: every_mode,
        features: every_feature,
        icmp_rate: 1000,
        ..Constants::new_zeroed()
    };
    let mut variants = vec![("everything".to_owned(), hardest)];
    let mut add = |what: String, change: &dyn Fn(&mut Constants)| {
        let mut constants = hardest;
        change(&mut constants);
        variants.push((what, constants));
    };
    add("all modes".to_owned(), &|all| all.features = 0);
    add("everything, no errors".to_owned(), &|all| all.icmp_rate = 0);
    for mode in Mode::ALL {
        add(format!("{mode:?}, all features, no errors"), &|all| {
            (all.modes, all.icmp_rate) = (mode.bit(), 0);
        });
        add(format!("{mode:?}, all features"), &|all| {
            all.modes = mode.bit();
        });
        add(format!("{mode:?}"), &|all| {
            (all.modes, all.features) = (mode.bit(), 0);
        });
    }
    add("IPv4".to_owned(), &|all| all.ipv6 = 0);
    add("IPv6".to_owned(), &|all| all.ipv4 = 0);
    for (feature, name) in FEATURES {
        add(format!("all modes, {name}, no errors"), &|all| {
            (all.features, all.icmp_rate) = (feature, 0);
        });
        add(format!("Nat, {name}, no errors"), &|all| {
            (all.modes, all.features, all.icmp_rate) = (Mode::Nat.bit(), feature, 0);
        });
    }
    variants
}

const FEATURES: [(u32, &str); 9] = [
    (Feature::Ranges as u32, "ranges"),
    (Feature::Echo as u32, "echo"),
    (Feature::Mss as u32, "segment sizes"),
    (Feature::Shared as u32, "shared backends"),
    (Feature::Affinity as u32, "affinity"),
    (Feature::Quic as u32, "QUIC"),
    (Feature::SecondChance as u32, "second chance"),
    (Feature::Refusal as u32, "refusals"),
    (Feature::Growing as u32, "flows in two maps"),
];

fn load(constants: Constants) -> Ebpf {
    let globals = Globals::of(constants);
    let mut loader = EbpfLoader::new();
    for (name, value) in globals.by_name() {
        loader.override_global(name, value, true);
    }
    loader
        .verifier_log_level(VerifierLogLevel::STATS)
        .load(&object("xlb"))
        .expect("the object loads")
}

/// Whether the kernel tells of a program that is loaded what its verifier walked.
fn remembers() -> bool {
    KernelVersion::current().expect("a version") >= KernelVersion::new(5, 16, 0)
}

/// Has the verifier take a program; instructions that it walked.
fn walked(program: &mut Xdp, what: &str) -> u32 {
    if !remembers() {
        let log = log(program, what);
        return processed(&log).unwrap_or_else(|| panic!("no number in the log: {log}"));
    }
    if let Err(error) = program.load() {
        panic!("{what}: {error:#?}");
    }
    let info = program.info().expect("what the kernel knows of it");
    info.verified_instruction_count().expect("a number")
}

/// The verifier's log of a program that it takes. aya asks for one only where a program is refused: here
/// as the very last step fails, because there is no file descriptor left for it.
fn log(program: &mut Xdp, what: &str) -> String {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).expect("a lower limit");
    let refused = program.load();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("the limit before");
    match refused {
        Err(ProgramError::LoadError {
            io_error,
            verifier_log,
        }) if io_error.raw_os_error() == Some(libc::EMFILE) => verifier_log.to_string(),
        other => panic!("{what} was to be refused for want of a descriptor: {other:#?}"),
    }
}

/// From `processed 1234 insns (limit 1000000) …`.
fn processed(log: &str) -> Option<u32> {
    let (_, number) = log.split_once("processed ")?;
    number.split_whitespace().next()?.parse().ok()
}
