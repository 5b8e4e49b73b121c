//! Addresses come and go with their services.

use lb_common::next_hop::NextHop;

use super::*;
use crate::{
    config,
    desired::{
        Specialisation,
        state::examples::{PATIENCE, backend},
    },
    health::Health,
};

const WEB: &str = "203.0.113.10";
const OTHER: &str = "203.0.113.11";

/// Three services, two of them on one address; the third has no say.
fn config() -> Config {
    let text = format!(
        "interfaces: [lo]\nannounce: {{}}\nservices:\n\
         - {{ name: web, vip: {WEB}:80/tcp, backends: [10.0.0.11:80, 10.0.0.12:80] }}\n\
         - {{ name: tls, vip: {WEB}:443/tcp, backends: [10.0.0.11:443] }}\n\
         - {{ name: aside, vip: {OTHER}:80/tcp, announce: false, backends: [10.0.0.13:80] }}\n"
    );
    config::parse("xlb.yaml", text.as_bytes()).unwrap().config
}

/// Everything is up and reached.
fn state() -> State {
    let config = config();
    let service = |service: &model::Service| Service {
        vip: service.vip,
        slots: 4096,
        mss: 0,
        patience: PATIENCE,
        backends: service
            .backends
            .iter()
            .map(|it| backend(it.address))
            .collect(),
    };
    State {
        services: config.services.iter().map(service).collect(),
        specialisation: Specialisation::of(&config, true),
        ..State::default()
    }
}

fn set(state: &mut State, service: usize, backend: usize, health: Health) {
    let backend = &mut state.services[service].backends[backend];
    backend.health = health;
    backend.live = health == Health::Up;
}

/// What becomes of the address of `web` and `tls`.
fn judged<'a>(state: &State, change: impl FnOnce(&mut Circumstances<'a>)) -> Wish {
    static NONE: BTreeSet<IpAddr> = BTreeSet::new();
    let mut circumstances = Circumstances {
        require: Require::All,
        drained: false,
        announced: &NONE,
        overdue: &NONE,
    };
    change(&mut circumstances);
    let wishes = wishes(&abilities(&config(), state), circumstances);
    assert_eq!(wishes.len(), 1, "who has no say is not asked: {wishes:?}");
    wishes[&web()].clone()
}

fn web() -> IpAddr {
    WEB.parse().unwrap()
}

fn no_backend(services: &[&str]) -> Wish {
    let names = services.iter().map(|name| (*name).to_owned()).collect();
    Wish::Withdraw(Reason::NoBackend(names))
}

#[test]
fn an_address_is_announced_while_all_of_its_services_can_forward() {
    let mut state = state();
    assert_eq!(judged(&state, |_| {}), Wish::Announce);
    set(&mut state, 0, 0, Health::Down);
    assert_eq!(judged(&state, |_| {}), Wish::Announce, "one is enough");
    set(&mut state, 0, 1, Health::Down);
    assert_eq!(judged(&state, |_| {}), no_backend(&["web"]));
}

#[test]
fn or_while_one_of_them_can_where_the_file_says_so() {
    let mut state = state();
    set(&mut state, 1, 0, Health::Down);
    assert_eq!(judged(&state, |_| {}), no_backend(&["tls"]));
    assert_eq!(
        judged(&state, |it| it.require = Require::Any),
        Wish::Announce
    );
    set(&mut state, 0, 0, Health::Down);
    set(&mut state, 0, 1, Health::Down);
    let any = judged(&state, |it| it.require = Require::Any);
    assert_eq!(any, no_backend(&["web", "tls"]));
}

#[test]
fn a_drained_balancer_announces_nothing() {
    let wish = judged(&state(), |it| it.drained = true);
    assert_eq!(wish, Wish::Withdraw(Reason::Drained));
}

#[test]
fn first_probes_are_waited_for_but_not_for_ever_and_not_by_what_is_announced() {
    let mut state = state();
    set(&mut state, 0, 1, Health::Unknown);
    let unsettled = Wish::Withdraw(Reason::Unsettled(vec!["web".to_owned()]));
    assert_eq!(judged(&state, |_| {}), unsettled);
    let both = BTreeSet::from([web()]);
    assert_eq!(judged(&state, |it| it.overdue = &both), Wish::Announce);
    assert_eq!(judged(&state, |it| it.announced = &both), Wish::Announce);
}

#[test]
fn a_service_is_settled_once_all_of_its_backends_are_known() {
    let mut state = state();
    assert_eq!(settled(&state).count(), 3);
    set(&mut state, 0, 1, Health::Unknown);
    state.services[1].backends[0].next_hop = NextHop::UNRESOLVED;
    let left: Vec<Vip> = settled(&state).collect();
    assert_eq!(left, [state.services[2].vip]);
    set(&mut state, 0, 1, Health::Down);
    assert_eq!(settled(&state).count(), 2);
}

/// Nobody asks one in maintenance, and one without weight takes no flows.
#[test]
fn who_will_take_no_flows_is_not_waited_for() {
    let mut state = state();
    set(&mut state, 0, 1, Health::Unknown);
    state.services[0].backends[1].keeps = false;
    assert_eq!(judged(&state, |_| {}), Wish::Announce);
    state.services[0].backends[1].keeps = true;
    state.services[0].backends[1].weight = 0;
    assert_eq!(judged(&state, |_| {}), Wish::Announce);
}

#[test]
fn a_backend_that_cannot_be_reached_does_not_count() {
    let mut state = state();
    state.services[1].backends[0].next_hop = NextHop::UNRESOLVED;
    let tls = Wish::Withdraw(Reason::Unsettled(vec!["tls".to_owned()]));
    assert_eq!(judged(&state, |_| {}), tls);
    let announced = BTreeSet::from([web()]);
    let wish = judged(&state, |it| it.announced = &announced);
    assert_eq!(wish, no_backend(&["tls"]));
}

#[test]
fn reasons_are_said_in_words() {
    let said = |reason: Reason| reason.to_string();
    let services = || vec!["web".to_owned(), "tls".to_owned()];
    assert_eq!(said(Reason::Drained), "this balancer is drained by hand");
    assert_eq!(said(Reason::NoBackend(services())), "no backend: web, tls");
    assert_eq!(
        said(Reason::Unsettled(services())),
        "first probes under way: web, tls"
    );
}

#[test]
fn a_service_without_a_backend_may_keep_its_address() {
    let dead = |when_empty: &str| {
        let text = format!(
            "interfaces: [lo]\nservices:\n\
             - {{ name: web, vip: 203.0.113.10:80/tcp, when_empty: {when_empty}, backends: [10.0.0.11:80] }}\n"
        );
        let config = config::parse("xlb.yaml", text.as_bytes()).unwrap().config;
        let service = Service {
            vip: config.services[0].vip,
            slots: 4096,
            mss: 0,
            patience: PATIENCE,
            backends: vec![Backend {
                health: Health::Down,
                live: false,
                keeps: false,
                ..backend(config.services[0].backends[0].address)
            }],
        };
        let state = State {
            services: vec![service],
            ..State::default()
        };
        abilities(&config, &state)[0].forwards
    };
    let words = ["withdraw", "drop", "reset", "fail-open"];
    assert_eq!(words.map(dead), [false, true, true, false]);
}
