//! `cargo xtask`: everything that a contributor runs, each verb in a file of its own.
//!
//! A verb brings what it needs itself ([`setup`]), so that each works on a fresh machine.
#![forbid(unsafe_code)]

mod bench;
mod build;
mod demo;
mod disasm;
mod fuzz;
mod kernel;
mod kernels;
mod lint;
mod setup;
mod shell;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Sets up, builds, tests and shows xlb.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Brings everything that the other verbs need; says what it does and why
    Setup,
    /// Builds the eBPF object, target/bpf/xlb.o
    BuildEbpf,
    /// Builds xlb, the eBPF object inside
    Build {
        /// Optimised: target/release/xlb
        #[arg(long)]
        release: bool,
    },
    /// Builds xlb and runs its demonstration in network namespaces (root)
    Demo {
        /// Handed to `xlb demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Runs all tests, or those whose names contain FILTER (root)
    Test {
        /// Part of a test's name
        filter: Option<String>,
    },
    /// Boots Debian's kernels, old and new, in QEMU and runs tests on them
    TestKernels(kernels::Options),
    /// Runs arbitrary frames through the data path, and looks for broken laws
    Fuzz(fuzz::Options),
    /// Checks format, lints, licences and advisories
    Lint,
    /// Measures cost per packet, throughput, latency and memory (root)
    Bench {
        /// Handed to the bench
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Counts connections that break while backends and daemon come, go and change (root)
    Churn {
        /// Seed of the events, how many of them, how many connections; `--flood`: under a flood of SYNs
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Plays one trace to xlb and to other designs: connections that each breaks, flows that it remembers
    Simulate {
        /// Of the trace
        seed: Option<u64>,
    },
    /// Prints the instructions of the eBPF object
    Disasm {
        /// Names of functions; all without any
        functions: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Args::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            shell::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Setup => setup::everything()?,
        Verb::BuildEbpf => build::ebpf()?,
        Verb::Build { release } => build::xlb(release)?,
        Verb::Demo { args } => demo::run(&args)?,
        Verb::Test { filter } => return test::run(filter.as_deref()),
        Verb::TestKernels(options) => return kernels::run(&options),
        Verb::Fuzz(options) => return fuzz::run(&options),
        Verb::Lint => lint::run()?,
        Verb::Bench { args } => bench::run("bench", "measuring", &args)?,
        Verb::Churn { args } => bench::run("churn", "counting broken connections", &args)?,
        Verb::Simulate { seed } => bench::simulate(seed)?,
        Verb::Disasm { functions } => disasm::run(&functions)?,
    }
    Ok(ExitCode::SUCCESS)
}
