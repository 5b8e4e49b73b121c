//! Every program of the object loads with every set of constants that the daemon may give it, within a
//! budget of instructions that the verifier walks.
//!
//! The numbers differ from kernel to kernel: `cargo xtask test-kernels` shows them.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests panic, so that the place is known"
)]

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    programs::{Program, ProgramError, Xdp},
};
use lb_common::{
    backend::Mode,
    datapath::Detour,
    maps::{Constants, Feature},
};
use lb_tests::kernel::object;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// Three quarters of what the kernel takes (`BPF_COMPLEXITY_LIMIT_INSNS` of Linux 5.2 and later): what one
/// kernel walks in less another may in more.
const BUDGET_INSTRUCTIONS: u32 = 750_000;

#[test]
fn every_program_loads_with_every_set_of_constants() {
    for (variant, constants) in variants() {
        let mut object = load(constants);
        for (name, program) in object.programs_mut() {
            let detour = Detour::ALL
                .into_iter()
                .find(|detour| detour.program() == name);
            if detour.is_some_and(|detour| !detour.is_used(&constants)) {
                continue;
            }
            let Program::Xdp(program) = program else {
                panic!("{name}: a kind of program that is not known here");
            };
            let walked = walked(program, &format!("{name} ({variant})"));
            println!("\nprogram {name} ({variant}): {walked} instructions walked");
            assert!(
                walked <= BUDGET_INSTRUCTIONS,
                "{name} ({variant}): {walked}"
            );
        }
    }
}

/// What a configuration may use: families, and modes alone and together, with every feature and without;
/// features alone, with ICMP errors and without.
fn variants() -> Vec<(String, Constants)> {
    let every_mode = Mode::ALL.iter().fold(0, |modes, mode| modes | mode.bit());
    let every_feature = FEATURES.iter().fold(0, |all, (feature, _)| all | feature);
    // The hardest first.
    let mut modes = vec![("all modes".to_owned(), every_mode)];
    modes.extend(Mode::ALL.map(|mode| (format!("{mode:?}"), mode.bit())));
    let all_or_nothing = [("all features", every_feature), ("no feature", 0)];
    let mut variants = Vec::new();
    for (family, ipv4, ipv6) in [("both families", 1, 1), ("IPv4", 1, 0), ("IPv6", 0, 1)] {
        let of_family = Constants {
            set_shift: 58,
            ipv6,
            ipv4,
            fib: 1,
            icmp_rate: 1000,
            ..Constants::new_zeroed()
        };
        for (what, modes) in &modes {
            for (feature, features) in all_or_nothing {
                let constants = Constants {
                    modes: *modes,
                    features,
                    ..of_family
                };
                variants.push((format!("{family}, {what}, {feature}"), constants));
            }
        }
    }
    let (_, hardest) = variants[0];
    let features = FEATURES.map(|(bit, feature)| (feature, bit));
    for (what, modes) in [("all modes", every_mode), ("Nat", Mode::Nat.bit())] {
        for (feature, features) in features.into_iter().chain(all_or_nothing) {
            let constants = Constants {
                modes,
                features,
                icmp_rate: 0,
                ..hardest
            };
            variants.push((format!("{what}, {feature}, no errors"), constants));
        }
    }
    variants
}

const FEATURES: [(u32, &str); 4] = [
    (Feature::Ranges as u32, "ranges"),
    (Feature::Echo as u32, "echo"),
    (Feature::Mss as u32, "segment sizes"),
    (Feature::Shared as u32, "shared backends"),
];

fn load(constants: Constants) -> Ebpf {
    let bytes: [u8; size_of::<Constants>()] = constants.as_bytes().try_into().expect("its size");
    EbpfLoader::new()
        .override_global("CONSTANTS", &bytes, true)
        .verifier_log_level(VerifierLogLevel::STATS)
        .load(&object("xlb"))
        .expect("the object loads")
}

/// Loads a program; instructions that the verifier walked.
fn walked(program: &mut Xdp, what: &str) -> u32 {
    let log = log(program, what);
    let walked = processed(&log).unwrap_or_else(|| panic!("no number in the log: {log}"));
    program.load().unwrap_or_else(|error| panic!("{error:#?}"));
    let info = program.info().expect("what the kernel knows of it");
    // Since Linux 5.16 it remembers.
    let remembered = info.verified_instruction_count().unwrap_or(walked);
    assert_eq!(remembered, walked, "{log}");
    walked
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
