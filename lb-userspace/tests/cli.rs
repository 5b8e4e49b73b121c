//! The command line as a shell sees it: words in, text and exit code out.

#![cfg(test)]

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// Runs `xlb` on folders of its own, where no daemon lives.
fn xlb(words: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    command(folder.path(), words).output().unwrap()
}

fn command(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xlb"));
    for flag in ["--run-dir", "--state-dir", "--pin-dir"] {
        command.arg(flag).arg(folder.join(&flag[2..]));
    }
    command.args(words).env_remove("NO_COLOR");
    command
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("xlb was ended by a signal")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("stdout is not JSON")
}

#[test]
fn usage_errors_exit_with_2_and_name_the_nearest_word() {
    for (words, hint) in [
        (vec!["statsu"], "'status'"),
        (vec!["backend", "drain", "web"], "<BACKEND>"),
        (vec!["backend", "weight", "web", "b1", "1001"], "0..=1000"),
        (
            vec!["backend", "add", "web", "10.0.0.300"],
            "not an IP address",
        ),
        (vec!["backend", "add", "web", "10.0.0.1:0"], "1 to 65535"),
        (vec!["backend", "drain", "web", "b1", "--for", "10"], "30s"),
        (vec!["--instance", "a/b", "status"], "letters"),
        (vec!["run", "-c", "f", "--metrics", "9900"], "ADDR:PORT"),
    ] {
        let output = xlb(&words);
        assert_eq!(code(&output), 2, "{words:?}");
        assert!(
            stderr(&output).contains(hint),
            "{words:?}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty(), "{words:?}");
    }
}

#[test]
fn usage_errors_are_json_where_json_is_asked_for() {
    let output = xlb(&["backend", "drain", "web", "-o", "json"]);
    assert_eq!(code(&output), 2);
    assert_eq!(json(&output)["error"]["code"], "usage");
}

#[test]
fn without_a_daemon_every_verb_exits_with_4_and_says_where_it_looked() {
    for words in [
        vec!["status"],
        vec!["apply"],
        vec!["service"],
        vec!["service", "show", "web"],
        vec!["backend", "list"],
        vec!["backend", "drain", "web", "b1"],
    ] {
        let output = xlb(&words);
        assert_eq!(code(&output), 4, "{words:?}: {}", stderr(&output));
        let text = stderr(&output);
        assert!(
            text.contains("default/xlb.sock") && text.contains("hint:"),
            "{text}"
        );
    }
}

#[test]
fn errors_are_json_on_stdout_and_text_on_stderr() {
    let output = xlb(&["-o", "json", "backend", "list"]);
    assert_eq!(code(&output), 4);
    let error = &json(&output)["error"];
    assert_eq!(error["code"], "unreachable");
    assert!(error["message"].as_str().unwrap().contains("xlb.sock"));
    assert!(error["hint"].as_str().unwrap().contains("xlb run"));
    assert!(stderr(&output).starts_with("error: cannot reach the daemon"));
}

#[test]
fn waiting_in_vain_exits_with_7() {
    let output = xlb(&["status", "--wait", "1s"]);
    assert_eq!(code(&output), 7, "{}", stderr(&output));
    assert!(stderr(&output).contains("waited 1s in vain"));
}

#[test]
fn help_has_examples_and_exit_codes() {
    for words in [
        vec!["--help"],
        vec!["backend", "--help"],
        vec!["apply", "--help"],
    ] {
        let output = xlb(&words);
        assert_eq!(code(&output), 0);
        assert!(stdout(&output).contains("Examples:"), "{words:?}");
    }
    assert!(stdout(&xlb(&["--help"])).contains("refused by a guard"));
    assert!(stdout(&xlb(&["--version"])).starts_with("xlb "));
}

#[test]
fn a_closed_pipe_is_no_mistake() {
    for words in [vec!["completions", "bash"], vec!["backend", "--help"]] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = command(folder.path(), &words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (code(&output), stderr(&output).as_str()),
            (0, ""),
            "{words:?}"
        );
    }
}

#[test]
fn colour_is_for_those_who_want_it() {
    let folder = tempfile::tempdir().unwrap();
    let painted = |words: &[&str], name: &str| {
        let mut command = command(folder.path(), words);
        command.env("CLICOLOR_FORCE", "1").env(name, "1");
        stderr(&command.output().unwrap()).contains('\x1b')
    };
    assert!(painted(&["status"], "XLB_TEST"));
    assert!(
        !painted(&["status"], "NO_COLOR"),
        "NO_COLOR beats CLICOLOR_FORCE"
    );
    assert!(painted(&["status", "--color", "always"], "NO_COLOR"));
    assert!(!painted(&["status", "--color=never"], "XLB_TEST"));
}

#[test]
fn completions_know_every_verb() {
    for shell in ["bash", "zsh", "fish"] {
        let output = xlb(&["completions", shell]);
        assert_eq!(code(&output), 0);
        for verb in ["backend", "detach", "drain"] {
            assert!(stdout(&output).contains(verb), "{shell} {verb}");
        }
    }
}

#[test]
fn check_lists_every_mistake_and_exits_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("xlb.yaml");
    let text = "interfaces: [lo]\nservices:\n  - name: web\n    vip: 203.0.113.10:70000/tcp\n    backend: []\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    for verb in ["check", "run"] {
        let output = xlb(&[verb, "-c", file]);
        assert_eq!(code(&output), 3, "{verb}: {}", stderr(&output));
        for mistake in ["70000", "did you mean `backends`?", "xlb.yaml:4:"] {
            assert!(
                stderr(&output).contains(mistake),
                "{verb}: {}",
                stderr(&output)
            );
        }
    }
    let output = xlb(&["check", "-c", file, "-o", "json"]);
    let problems = &json(&output)["problems"];
    assert_eq!(json(&output)["error"]["code"], "config_invalid");
    assert!(
        problems.as_array().is_some_and(|all| all.len() >= 2),
        "{problems}"
    );
    assert_eq!(problems[0]["line"], 4);
}

#[test]
fn check_is_content_with_a_good_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("xlb.yaml");
    let text = "interfaces: [lo]\nservices:\n  - { name: web, vip: 203.0.113.10:80/tcp, backends: [192.0.2.1:80] }\n";
    std::fs::write(&file, text).unwrap();
    let output = xlb(&["check", "-c", file.to_str().unwrap()]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).ends_with("is valid: 1 services, 1 backends\n"));
    let output = xlb(&["check", "-c", "/nonexistent/xlb.yaml"]);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    let text = "interfaces: [xlb-none]\nservices:\n  - { name: web, vip: 203.0.113.10:80/tcp, backends: [192.0.2.1:80] }\n";
    std::fs::write(&file, text).unwrap();
    let output = xlb(&["check", "-c", file.to_str().unwrap()]);
    assert_eq!(code(&output), 3);
    assert!(
        stderr(&output).contains("`xlb-none` is missing"),
        "{}",
        stderr(&output)
    );
}
