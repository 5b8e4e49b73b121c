//! `full-nat`: answers find back by themselves, if the pool's addresses are found at all.

use super::{
    Facts, Script,
    facts::{Source, Way},
    script::{host, ip, listed},
};

pub(super) fn write(facts: &Facts<'_>, script: &mut Script) {
    let all: Vec<_> = facts.sources.iter().map(|source| source.address).collect();
    let far = facts.sources.iter().filter(|source| !source.on_link);
    let far: Vec<&Source> = far.collect();
    if !all.is_empty() {
        script.note(&format!("Packets come from {}.", listed(&all)));
    }
    match facts.way {
        _ if far.is_empty() => script.note("Nothing is to be done here."),
        Some(Way {
            balancer: Some(balancer),
            router: None,
            ..
        }) => {
            script.note(
                "Not all of that is on the balancer's link: answers go through the balancer.",
            );
            script.find_interface(facts.address());
            for source in far {
                script.run(format!(
                    "{} route replace {} via {balancer} dev \"$dev\"",
                    ip(balancer),
                    host(source.address)
                ));
            }
        }
        _ => script.note("Nothing is to be done here; routers must lead there to the balancer."),
    }
}
