//! Services with fewer backends than they need: what `min_up` and `when_empty` make of the state.

use std::{collections::HashMap, net::SocketAddr};

use super::state::{Backend, Service, State};
use crate::{
    config::model::{self, Config, Vip, WhenEmpty},
    health::Health,
    slot_table::Part,
};

/// Services that had fewer backends than they need when they were last looked at: what comes back needs some more
/// than what is there (`hysteresis`). With whether that was worth telling: before its backends are known it is not.
pub type Short = HashMap<Vip, bool>;

/// Applies what the configuration says of such services; those that became short, or are not any more.
/// `is_ready`: what the operator says of a backend.
pub fn apply(
    state: &mut State,
    config: &Config,
    short: &mut Short,
    is_ready: impl Fn(&str, SocketAddr) -> bool,
) -> Vec<(Vip, bool)> {
    let mut told = Vec::new();
    // A state is built service by service.
    for (model, service) in config.services.iter().zip(&mut state.services) {
        let was_short = short.get(&service.vip).copied();
        let needed = needed(model, service, was_short.is_some());
        rouse(service, needed);
        if staying(service).filter(|backend| backend.live).count() >= needed {
            if short.remove(&service.vip) == Some(true) {
                told.push((service.vip, false));
            }
            continue;
        }
        let is_known = !service.backends.iter().any(Backend::is_asked);
        if is_known && was_short != Some(true) {
            told.push((service.vip, true));
        }
        short.insert(service.vip, is_known || was_short == Some(true));
        let backends = service.backends.iter_mut();
        let staying = backends.filter(|backend| !backend.leaving);
        match model.guards.when_empty {
            WhenEmpty::FailOpen => open(staying.collect(), |at| is_ready(&model.name, at)),
            WhenEmpty::Drop | WhenEmpty::Reset | WhenEmpty::Withdraw => {
                staying.for_each(|backend| backend.live = false);
            }
        }
    }
    told
}

/// Those that may serve: who stands by or is drained is not waited for.
fn staying(service: &Service) -> impl Iterator<Item = &Backend> {
    let backends = service.backends.iter();
    backends.filter(|backend| !backend.leaving && backend.weight > 0)
}

/// How many backends have to be live.
fn needed(model: &model::Service, service: &Service, was_short: bool) -> usize {
    let min_up = model.guards.min_up as usize;
    if was_short {
        let more = model.guards.hysteresis as usize;
        min_up.saturating_add(more).min(staying(service).count())
    } else {
        min_up
    }
}

/// Where those that take flows are fewer than are needed, those take some, too, that were to take none because they
/// fall too often.
fn rouse(service: &mut Service, needed: usize) {
    if staying(service).filter(|it| it.takes()).count() >= needed {
        return;
    }
    let idle = |backend: &&mut Backend| backend.live && backend.part == Part::NONE;
    for backend in service.backends.iter_mut().filter(idle) {
        backend.part = Part::WHOLE;
    }
}

/// All are better than none: the probes may be wrong. Not before each has been probed.
fn open(mut backends: Vec<&mut Backend>, is_ready: impl Fn(SocketAddr) -> bool) {
    let may_serve = |backend: &Backend| backend.weight > 0 && is_ready(backend.address);
    let is_asked = |backend: &Backend| may_serve(backend) && backend.health == Health::Unknown;
    if backends.iter().any(|backend| is_asked(backend)) {
        return;
    }
    for backend in backends.iter_mut().filter(|backend| may_serve(backend)) {
        backend.health = Health::Up;
        backend.live = true;
        backend.part = Part::WHOLE;
        backend.keeps = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, desired::state::examples::probed};

    fn config(guards: &str) -> Config {
        let text = format!(
            "interfaces: [lo]\nservices:\n\
             - {{ name: web, vip: 203.0.113.10:80/tcp, {guards}, \
             backends: [10.0.0.11:80, 10.0.0.12:80, 10.0.0.13:80, 10.0.0.14:80] }}\n"
        );
        config::parse("xlb.yaml", text.as_bytes()).unwrap().config
    }

    const UP: Health = Health::Up;
    const DOWN: Health = Health::Down;

    /// Who takes flows, of those of whom this is known; the third one is drained.
    fn live(config: &Config, health: [Health; 4], short: &mut Short) -> [bool; 4] {
        let mut state = probed(config, health);
        let drained = config.services[0].backends[2].address;
        state.services[0].backends[2].live = false;
        drop(apply(&mut state, config, short, |_, at| at != drained));
        let backends = &state.services[0].backends;
        std::array::from_fn(|index| backends[index].live)
    }

    #[test]
    fn it_is_told_once_and_not_before_all_are_known() {
        let config = config("min_up: 3");
        let mut short = Short::new();
        let mut told = |health| {
            let mut state = probed(&config, health);
            let told = apply(&mut state, &config, &mut short, |_, _| true);
            told.into_iter()
                .map(|(_, is_short)| is_short)
                .collect::<Vec<_>>()
        };
        assert!(told([Health::Unknown; 4]).is_empty());
        assert!(told([UP; 4]).is_empty());
        assert_eq!(told([DOWN, DOWN, UP, UP]), [true]);
        assert!(told([DOWN, DOWN, DOWN, UP]).is_empty());
        assert_eq!(told([UP; 4]), [false]);
    }

    #[test]
    fn without_a_word_nothing_changes() {
        let config = config("idle: 1s");
        let mut short = Short::new();
        assert_eq!(
            live(&config, [UP, DOWN, UP, DOWN], &mut short),
            [true, false, false, false]
        );
        assert!(short.is_empty());
        assert_eq!(live(&config, [DOWN; 4], &mut short), [false; 4]);
    }

    #[test]
    fn too_few_are_as_good_as_none_until_there_are_some_more() {
        let config = config("min_up: { count: 2, hysteresis: 1 }");
        let mut short = Short::new();
        let two = [UP, UP, UP, DOWN];
        assert_eq!(live(&config, two, &mut short), [true, true, false, false]);
        assert_eq!(live(&config, [UP, DOWN, UP, DOWN], &mut short), [false; 4]);
        assert_eq!(
            live(&config, two, &mut short),
            [false; 4],
            "one more is needed"
        );
        assert_eq!(
            live(&config, [UP; 4], &mut short),
            [true, true, false, true]
        );
        assert_eq!(live(&config, two, &mut short), [true, true, false, false]);
    }

    #[test]
    fn who_takes_nothing_takes_all_where_too_few_others_do() {
        let config = config("min_up: { count: 2, hysteresis: 1 }");
        let mut short = Short::new();
        let mut percents = |health| {
            let mut state = probed(&config, health);
            state.services[0].backends[0].part = Part::NONE;
            drop(apply(&mut state, &config, &mut short, |_, _| true));
            let backends = &state.services[0].backends;
            backends
                .iter()
                .map(|it| u8::from(it.live) * it.part.percent())
                .collect::<Vec<_>>()
        };
        assert_eq!(percents([UP, UP, UP, DOWN]), [0, 100, 100, 0]);
        assert_eq!(percents([UP, UP, DOWN, DOWN]), [100, 100, 0, 0]);
        assert_eq!(percents([UP, DOWN, DOWN, DOWN]), [0; 4], "too few anyway");
        assert_eq!(percents([UP, UP, DOWN, DOWN]), [0; 4], "one more is needed");
        assert_eq!(percents([UP, UP, UP, DOWN]), [100, 100, 100, 0]);
        assert_eq!(percents([UP, UP, UP, UP]), [0, 100, 100, 100]);
    }

    #[test]
    fn all_are_used_where_that_is_wanted_but_those_that_the_operator_took_out() {
        let config = config("when_empty: fail-open");
        let mut short = Short::new();
        assert_eq!(
            live(&config, [DOWN; 4], &mut short),
            [true, true, false, true]
        );
        let not_asked = [DOWN, Health::Unknown, DOWN, DOWN];
        assert_eq!(live(&config, not_asked, &mut short), [false; 4]);
        assert_eq!(
            live(&config, [DOWN, UP, UP, DOWN], &mut short),
            [false, true, false, false]
        );
    }
}
