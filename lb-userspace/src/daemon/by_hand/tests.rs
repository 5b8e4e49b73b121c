//! Each verb, what it leaves set by hand, and whether its undo undoes it.

use super::*;
use crate::daemon::samples;

const NOW: u64 = 1000;

fn request(verb: BackendVerb, backend: &str) -> BackendRequest {
    BackendRequest {
        service: "web".to_owned(),
        backend: backend.to_owned(),
        verb,
        for_seconds: None,
        force: false,
    }
}

/// Does what a request asks for; the deed.
fn act(overrides: &mut Overrides, verb: BackendVerb, backend: &str) -> Result<Deed, Error> {
    let deed = plan(&request(verb, backend), &samples::config(), overrides, NOW)?;
    overrides.set(&deed.service, deed.address, deed.by_hand.clone());
    Ok(deed)
}

/// Reads the words of an undo as the command line would.
fn undo(overrides: &mut Overrides, words: &[String]) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (verb, backend) = match words.as_slice() {
        ["backend", "weight", "web", backend, weight] => {
            let weight = weight.parse().unwrap();
            (BackendVerb::Weight { weight }, backend)
        }
        [
            "backend",
            "add",
            "web",
            address,
            "--name",
            name,
            "--weight",
            weight,
        ] => {
            let name = Some((*name).to_owned());
            let weight = weight.parse().unwrap();
            (BackendVerb::Add { name, weight }, address)
        }
        ["backend", "drain", "web", backend] => (BackendVerb::Drain, backend),
        ["backend", "maint", "web", backend] => (BackendVerb::Maint, backend),
        ["backend", "ready", "web", backend] => (BackendVerb::Ready, backend),
        ["backend", "remove", "web", backend] => (BackendVerb::Remove { now: false }, backend),
        ["backend", "reset", "web", backend] => (BackendVerb::Reset, backend),
        other => panic!("{other:?} is no command"),
    };
    act(overrides, verb, backend).unwrap();
}

#[test]
fn every_undo_undoes() {
    let add = || BackendVerb::Add {
        name: Some("b3".to_owned()),
        weight: 2,
    };
    for (before, verb, backend) in [
        (vec![], BackendVerb::Drain, "b1"),
        (vec![], BackendVerb::Maint, "10.0.0.11"),
        (vec![], BackendVerb::Weight { weight: 7 }, "b2"),
        (vec![], BackendVerb::Remove { now: false }, "b2"),
        (vec![], add(), "10.0.0.13:8080"),
        (vec![(BackendVerb::Drain, "b1")], BackendVerb::Ready, "b1"),
        (vec![(BackendVerb::Maint, "b1")], BackendVerb::Drain, "b1"),
        (
            vec![(add(), "10.0.0.13:8080")],
            BackendVerb::Remove { now: false },
            "b3",
        ),
        (
            vec![(BackendVerb::Weight { weight: 7 }, "b1")],
            BackendVerb::Weight { weight: 9 },
            "b1",
        ),
    ] {
        let mut overrides = Overrides::default();
        for (verb, backend) in before {
            act(&mut overrides, verb, backend).unwrap();
        }
        let was = overrides.clone();
        let deed = act(&mut overrides, verb.clone(), backend).unwrap();
        assert_ne!(overrides, was, "{verb:?}");
        undo(&mut overrides, &deed.undo.unwrap());
        assert_eq!(overrides, was, "{verb:?}");
    }
}

#[test]
fn what_is_already_so_leaves_nothing_behind() {
    let mut overrides = Overrides::default();
    for (verb, backend) in [
        (BackendVerb::Ready, "b1"),
        (BackendVerb::Reset, "b1"),
        (BackendVerb::Weight { weight: 3 }, "b2"),
    ] {
        let deed = act(&mut overrides, verb, backend).unwrap();
        assert_eq!(deed.undo, None);
    }
    assert_eq!(overrides, Overrides::default());
}

#[test]
fn a_removed_backend_is_found_by_reset_only() {
    let mut overrides = Overrides::default();
    act(&mut overrides, BackendVerb::Remove { now: false }, "b1").unwrap();
    let error = act(&mut overrides, BackendVerb::Drain, "b1").unwrap_err();
    assert_eq!(error.code, Code::NotFound);
    assert_eq!(error.hint.as_deref(), Some("backends are b2"));
    act(&mut overrides, BackendVerb::Reset, "b1").unwrap();
    assert_eq!(overrides, Overrides::default());
}

#[test]
fn a_time_limit_is_that_of_what_was_set_with_it() {
    let mut overrides = Overrides::default();
    act(&mut overrides, BackendVerb::Weight { weight: 7 }, "b1").unwrap();
    let drain = BackendRequest {
        for_seconds: Some(60),
        ..request(BackendVerb::Drain, "b1")
    };
    let deed = plan(&drain, &samples::config(), &overrides, NOW).unwrap();
    assert_eq!(
        deed.by_hand.admin.and_then(|admin| admin.expires),
        Some(NOW + 60)
    );
    assert_eq!(deed.by_hand.weight.and_then(|weight| weight.expires), None);
}

#[test]
fn what_cannot_be_added_is_refused() {
    let add = |name: &str| BackendVerb::Add {
        name: Some(name.to_owned()),
        weight: 1,
    };
    for (verb, backend, code) in [
        (add("b9"), "10.0.0.11:8080", Code::Failed),
        (add("b1"), "10.0.0.13:8080", Code::Failed),
        (add("b9"), "[2001:db8::1]:80", Code::Usage),
        (add("b9"), "10.0.0.13", Code::Usage),
        (add("b9"), "224.0.0.1:80", Code::Usage),
        (BackendVerb::Weight { weight: 1001 }, "b1", Code::Usage),
        (BackendVerb::Drain, "b9", Code::NotFound),
    ] {
        let mut overrides = Overrides::default();
        let error = act(&mut overrides, verb.clone(), backend).unwrap_err();
        assert_eq!(error.code, code, "{verb:?} {backend}: {error}");
    }
}
