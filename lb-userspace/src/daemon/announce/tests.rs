//! Wishes over time, with a clock of the test's.

use super::*;

const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 10));

fn ability(forwards: bool, unsettled: bool) -> Ability {
    Ability {
        service: "web".to_owned(),
        address: VIP,
        forwards,
        unsettled,
    }
}

fn announcement(announced: &[IpAddr]) -> Announcement {
    Announcement {
        options: Some(Announce::default()),
        ..Announcement::adopt(announced.iter().copied().collect(), HashSet::new())
    }
}

/// Whether the VIP is wanted once a service can do so much.
fn wants(announcement: &mut Announcement, ability: Ability, drained: bool, now: Instant) -> bool {
    announcement.abilities = vec![ability];
    announcement.judge(drained, false, now);
    announcement.wanted().addresses.contains(&VIP)
}

#[tokio::test(start_paused = true)]
async fn first_probes_are_waited_for_ten_seconds_at_most() {
    let began = Instant::now();
    let mut announcement = announcement(&[]);
    let unsettled = || ability(true, true);
    assert!(!wants(&mut announcement, unsettled(), false, began));
    let late = began + FIRST_PROBES;
    let before = late.checked_sub(Duration::from_millis(1)).unwrap();
    assert!(!wants(&mut announcement, unsettled(), false, before));
    assert!(wants(&mut announcement, unsettled(), false, late));
    // Whoever is announced is not waited for again.
    assert!(wants(&mut announcement, unsettled(), false, late));
    assert!(announcement.wanted().place.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_ended_well_does_not_shorten_the_next_one() {
    let began = Instant::now();
    let mut announcement = announcement(&[]);
    assert!(!wants(&mut announcement, ability(true, true), false, began));
    assert!(wants(&mut announcement, ability(true, false), false, began));
    assert!(!wants(
        &mut announcement,
        ability(false, false),
        false,
        began
    ));
    let late = began + 2 * FIRST_PROBES;
    assert!(!wants(&mut announcement, ability(true, true), false, late));
}

#[tokio::test(start_paused = true)]
async fn what_the_daemon_before_announced_stays() {
    let now = Instant::now();
    let mut adopted = announcement(&[VIP]);
    assert!(wants(&mut adopted, ability(true, true), false, now));
    assert!(
        !wants(&mut adopted, ability(true, true), true, now),
        "drained"
    );
    assert!(
        !wants(&mut adopted, ability(true, true), false, now),
        "from the beginning"
    );
    assert!(wants(&mut adopted, ability(true, false), false, now));
}

/// Once: a peer that goes away later keeps nothing back.
#[tokio::test(start_paused = true)]
async fn peers_are_waited_for_ten_seconds_at_most() {
    let began = Instant::now();
    let judged = |announcement: &mut Announcement, forwards: bool, untold: bool, now: Instant| {
        announcement.abilities = vec![ability(forwards, false)];
        announcement.judge(false, untold, now);
        announcement.wanted().addresses.contains(&VIP)
    };
    let mut told = announcement(&[]);
    assert!(!judged(&mut told, true, true, began));
    assert_eq!(told.wishes[&VIP], Wish::Withdraw(Reason::Untold));
    assert!(judged(&mut told, true, false, began));
    assert!(!judged(&mut told, false, true, began));
    assert!(judged(&mut told, true, true, began));

    let mut never_told = announcement(&[]);
    assert!(!judged(&mut never_told, true, true, began));
    assert!(judged(&mut never_told, true, true, began + FIRST_PROBES));
    let mut adopted = announcement(&[VIP]);
    assert!(judged(&mut adopted, true, true, began));
}

#[test]
fn a_file_without_announcement_wants_nothing() {
    let mut announcement = Announcement::adopt(BTreeSet::from([VIP]), HashSet::new());
    announcement.judge(false, false, Instant::now());
    assert_eq!(announcement.wanted(), Wanted::default());
}

#[test]
fn an_undo_brings_back_what_was_set_before() {
    let drained = setting(BalancerVerb::Drain, Some(9));
    assert_eq!(undo(drained), ["drain", "self"]);
    assert_eq!(undo(setting(BalancerVerb::Ready, None)), ["ready", "self"]);
}
