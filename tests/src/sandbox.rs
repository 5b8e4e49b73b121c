//! A network namespace for one test. It has no name and ends with its thread, whatever happens.

use std::{fs, process::Command, thread};

use nix::{
    sched::{CloneFlags, CpuSet, sched_getcpu, sched_setaffinity, unshare},
    unistd::Pid,
};

/// Runs `test` on a thread of its own in a fresh network namespace that does not forward.
///
/// # Panics
///
/// Without root, or where `test` does.
pub fn run<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let body = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace: it needs root");
        set_forwarding(false);
        test()
    };
    thread::spawn(body)
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Whether the calling thread's namespace forwards packets, of both families.
///
/// # Panics
///
/// Where `/proc/sys` cannot be written.
pub fn set_forwarding(on: bool) {
    for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let path = format!("/proc/sys/net/{file}");
        fs::write(&path, if on { "1" } else { "0" })
            .unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

/// Runs `ip` with these words in the calling thread's namespace.
///
/// # Panics
///
/// Where it fails.
pub fn ip(words: &str) {
    let output = Command::new("ip")
        .args(words.split_whitespace())
        .output()
        .expect("`ip` of iproute2");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {error}");
}

/// Keeps the calling thread on the CPU where it is: some maps have a value for each.
///
/// # Panics
///
/// Where the kernel refuses.
pub fn stay_on_this_cpu() {
    let mut set = CpuSet::new();
    let cpu = sched_getcpu().expect("the number of a CPU");
    set.set(cpu).expect("a CPU within the set");
    sched_setaffinity(Pid::from_raw(0), &set).expect("a CPU of this machine");
}
