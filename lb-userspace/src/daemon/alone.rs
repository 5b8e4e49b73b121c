//! What is done to an instance that no daemon looks after. A daemon that runs all the same holds the lock.

use anyhow::Context as _;

use super::{
    announce::{nothing_to_drain, setting, undo},
    engine::next_second,
    instance::Instance,
    store::Store,
};
use crate::{
    api::{
        Error,
        types::{BalancerChanged, BalancerRequest, BalancerVerb, Detached},
    },
    dataplane::{self, Pins},
    net,
};

/// Takes routes of VIPs out, and the data path down.
///
/// # Errors
/// Where a daemon runs, or something cannot be removed.
pub fn detach(instance: &Instance) -> Result<Detached, Error> {
    let lock = dataplane::lock(&instance.lock())?;
    let store = Store::new(instance.state());
    let mut withdrawn = Vec::new();
    if let Some(mut saved) = store.load()?.filter(|saved| !saved.marks.is_empty()) {
        withdrawn = wait(net::announce::withdraw(&saved.marks))?
            .into_iter()
            .collect();
        saved.marks.clear();
        store.save(&saved)?;
    }
    let pins = Pins::new(instance.pins());
    let interfaces = pins.links()?.into_keys().collect();
    dataplane::detach(&pins, &lock)?;
    Ok(Detached {
        interfaces,
        withdrawn,
    })
}

/// Takes routes of VIPs out, and has the next daemon leave them out; or has it put them back.
///
/// # Errors
/// Where a daemon runs, nothing was ever announced, or routes cannot be removed.
pub fn administer(
    instance: &Instance,
    request: &BalancerRequest,
) -> Result<BalancerChanged, Error> {
    let _lock = dataplane::lock(&instance.lock())?;
    let store = Store::new(instance.state());
    let saved = store.load()?.filter(|saved| !saved.marks.is_empty());
    let mut saved = saved.ok_or_else(nothing_to_drain)?;
    let expires = request.for_seconds.map(|lasts| next_second() + lasts);
    let by_hand = setting(request.verb, expires);
    let before = saved.balancer;
    let changed = before != by_hand;
    saved.balancer = by_hand;
    saved.revision += u64::from(changed);
    store.save(&saved)?;
    let announced = match request.verb {
        BalancerVerb::Drain => {
            wait(net::announce::withdraw(&saved.marks))?;
            Vec::new()
        }
        BalancerVerb::Ready => {
            let announced = wait(net::announce::announced(&saved.marks))?;
            announced.into_iter().collect()
        }
    };
    Ok(BalancerChanged {
        verb: request.verb.word().to_owned(),
        changed,
        revision: saved.revision,
        announced,
        expires_in_seconds: request.for_seconds.filter(|_| changed),
        undo: changed.then(|| undo(before)),
    })
}

/// Waits for the kernel.
fn wait<T>(
    answer: impl Future<Output = Result<T, net::announce::Error>>,
) -> Result<T, anyhow::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    Ok(runtime.block_on(answer)?)
}
