//! `xlb demo`, as a person runs it: its figures are right, and it leaves nothing behind.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use lb_tests::daemon::binary;
use lb_userspace::lab::Process;
use nix::sys::signal::Signal;

/// How long the whole story may take on a busy machine, and how long its end after a signal.
const PATIENCE: Duration = Duration::from_mins(3);

fn start(args: &[&str]) -> Process {
    let mut command = Command::new(binary().unwrap());
    command.arg("demo").args(args).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Process::start(&mut command).unwrap()
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// What a demonstration of this process has: namespaces, folders, processes.
fn traces(id: u32) -> Vec<String> {
    let (lab, instance) = (format!("xlb-{id}-"), format!("demo-{id}"));
    let namespaces = names("/run/netns")
        .into_iter()
        .filter(|name| name.starts_with(&lab));
    let folders = ["/run/xlb", "/var/lib/xlb", "/sys/fs/bpf/xlb"]
        .map(|folder| Path::new(folder).join(&instance))
        .into_iter()
        .filter(|folder| folder.exists())
        .map(|folder| folder.display().to_string());
    let belongs = |file: &str| {
        let text = fs::read(file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.contains(&instance) || text.contains(&lab)
    };
    let processes = names("/proc")
        .into_iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|process| {
            belongs(&format!("/proc/{process}/cmdline"))
                || belongs(&format!("/proc/{process}/environ"))
        });
    namespaces.chain(folders).chain(processes).collect()
}

/// Reads what it prints until a line of the story begins.
fn read_until(demo: &mut Process, step: &str) -> Box<dyn std::io::Read> {
    let mut story = BufReader::new(demo.stdout().unwrap());
    let mut line = String::new();
    while !line.starts_with(step) {
        line.clear();
        let length = story.read_line(&mut line).unwrap();
        assert_ne!(length, 0, "it ended before `{step}`");
    }
    Box::new(story)
}

/// Sends a signal as soon as a step begins; it must end with an error, and with nothing left.
fn interrupt(step: &str, signal: Signal) {
    let mut demo = start(&[]);
    let id = demo.id();
    let mut story = read_until(&mut demo, step);
    assert!(
        !traces(id).is_empty(),
        "the test does not see a lab that is there"
    );
    demo.signal(signal).unwrap();
    let status = demo.wait(PATIENCE).unwrap();
    assert_eq!(traces(id), Vec::<String>::new(), "left behind");
    assert_eq!(status.code(), Some(1));
    let mut said = String::new();
    demo.stderr().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains(signal.as_str()), "{said}");
    story.read_to_string(&mut said).unwrap();
    assert!(!said.contains("summary"), "{said}");
}

#[test]
fn its_figures_are_right_and_it_leaves_nothing_behind() {
    let demo = Command::new(binary().unwrap())
        .arg("demo")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = demo.id();
    let output = demo.wait_with_output().unwrap();
    let story = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{story}\n{said}");
    assert!(said.is_empty(), "{said}");
    assert!(!story.contains('\x1b'), "colour where there is none");
    assert_eq!(traces(id), Vec::<String>::new(), "left behind");
}

#[test]
fn a_signal_in_the_middle_leaves_nothing_behind() {
    interrupt("3. ", Signal::SIGINT);
}

#[test]
fn a_signal_while_the_network_is_made_leaves_nothing_behind() {
    interrupt("1. ", Signal::SIGTERM);
}

#[test]
fn what_is_kept_is_removed_on_demand() {
    let mut demo = start(&["--keep"]);
    let id = demo.id();
    let mut story = demo.stdout().unwrap();
    assert!(demo.wait(PATIENCE).unwrap().success());
    let mut text = String::new();
    story.read_to_string(&mut text).unwrap();
    assert!(!traces(id).is_empty(), "nothing was kept");
    let vip_answers = Command::new("nsenter")
        .arg(format!("--net=/run/netns/xlb-{id}-0-client"))
        .arg(binary().unwrap())
        .args(["demo", "load", "203.0.113.10:80", "--count", "50"])
        .output()
        .unwrap();
    assert!(vip_answers.status.success(), "{vip_answers:?}");
    assert!(
        start(&[&format!("--down=demo-{id}")])
            .wait(PATIENCE)
            .unwrap()
            .success()
    );
    assert_eq!(traces(id), Vec::<String>::new(), "left behind");
}
