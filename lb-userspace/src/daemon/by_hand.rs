//! What a request of an operator means for the overrides. Pure: nothing is changed here.

use std::net::SocketAddr;

use super::words;
use crate::{
    api::{
        Code, Error,
        resolve::{self, Candidate},
        types::{BackendRequest, BackendVerb},
    },
    config::{
        BackendAddress,
        model::{self, Config, Service, Vip},
    },
    desired::overrides::{Admin, Effective, Override, Overrides, Presence, Setting},
};

/// What is to be set by hand, and how to take it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deed {
    /// The service's name.
    pub(super) service: String,
    /// The backend's name.
    pub(super) backend: String,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// All that is set by hand for it then.
    pub(super) by_hand: Override,
    /// Words after `xlb` that undo it.
    pub(super) undo: Option<Vec<String>>,
}

/// Works out what a request asks for; `now` is in seconds since 1970.
///
/// # Errors
/// Where service or backend do not exist, or the request contradicts what is there.
pub(super) fn plan(
    request: &BackendRequest,
    file: &Config,
    overrides: &Overrides,
    now: u64,
) -> Result<Deed, Error> {
    let effective = overrides.apply(file);
    let names: Vec<&str> = file.services.iter().map(|s| s.name.as_str()).collect();
    let place = resolve::service(&request.service, &names)?;
    let (Some(in_file), Some(in_force)) = (
        file.services.get(place),
        effective.config.services.get(place),
    ) else {
        return Err(Error::new(Code::Failed, "a service was lost"));
    };
    let context = Context {
        request,
        in_file,
        in_force,
        effective: &effective,
        overrides,
        expires: request.for_seconds.map(|lasts| now.saturating_add(lasts)),
    };
    context.plan()
}

struct Context<'a> {
    request: &'a BackendRequest,
    in_file: &'a Service,
    in_force: &'a Service,
    effective: &'a Effective,
    overrides: &'a Overrides,
    expires: Option<u64>,
}

impl Context<'_> {
    fn plan(&self) -> Result<Deed, Error> {
        match &self.request.verb {
            BackendVerb::Add { name, weight } => self.add(name.as_deref(), *weight),
            BackendVerb::Reset => self.reset(),
            BackendVerb::Remove { .. } => self.remove(self.known()?),
            BackendVerb::Drain => Ok(self.administer(self.known()?, Admin::Drain)),
            BackendVerb::Maint => Ok(self.administer(self.known()?, Admin::Maint)),
            BackendVerb::Ready => Ok(self.administer(self.known()?, Admin::Ready)),
            BackendVerb::Weight { weight } => self.weigh(self.known()?, *weight),
        }
    }

    /// The backend that is meant.
    fn known(&self) -> Result<&model::Backend, Error> {
        find(
            &self.request.service,
            &self.request.backend,
            self.in_force.vip,
            self.in_force.backends.iter(),
        )
    }

    fn add(&self, name: Option<&str>, weight: u16) -> Result<Deed, Error> {
        let address = self.new_address()?;
        let name = name.unwrap_or(&self.request.backend);
        let taken = |backend: &&model::Backend| backend.name == name || backend.address == address;
        if let Some(other) = self.in_force.backends.iter().find(taken) {
            let message = format!(
                "service `{}` already has a backend `{}` at {}",
                self.in_force.name,
                other.name,
                self.in_force.vip.backend(other.address)
            );
            return Err(Error::new(Code::Failed, message).hint(
                "`xlb backend weight` changes a weight; give another --name if that is taken",
            ));
        }
        let was = self.in_file.backends.iter().find(|b| b.address == address);
        let by_hand = Override {
            admin: None,
            weight: (was.map_or(1, |was| was.weight) != weight).then(|| self.setting(weight)),
            presence: was
                .is_none()
                .then(|| self.setting(Presence::Added(name.to_owned()))),
        };
        let name = was.map_or(name, |was| &was.name);
        let undo = self.words("remove", name, &[]);
        Ok(self.deed(name, address, by_hand, Some(undo)))
    }

    fn new_address(&self) -> Result<SocketAddr, Error> {
        let text = &self.request.backend;
        let written = BackendAddress::parse(text)
            .map_err(|error| Error::new(Code::Usage, error.to_string()).hint(error.hint()))?;
        let Service { vip, mode, .. } = *self.in_force;
        if written.ip.is_ipv4() != vip.address.is_ipv4() && !mode.is_tunnel() {
            let message = format!("{text} is not of the address family of the VIP {vip}");
            return Err(Error::new(Code::Usage, message));
        }
        written
            .fit(vip, mode)
            .map_err(|misfit| Error::new(Code::Usage, misfit.to_string()).hint(misfit.hint()))
    }

    fn remove(&self, backend: &model::Backend) -> Result<Deed, Error> {
        let model::Backend {
            name,
            address,
            weight,
            ..
        } = backend;
        if self.in_file.backends.iter().any(|b| b.address == *address) {
            let by_hand = Override {
                presence: Some(self.setting(Presence::Removed)),
                ..Override::default()
            };
            let undo = self.words("reset", name, &[]);
            return Ok(self.deed(name, *address, by_hand, Some(undo)));
        }
        if self.expires.is_some() {
            let message = format!("`{name}` was added by hand: it cannot be removed for a while");
            return Err(Error::new(Code::Usage, message).hint("drain it, or leave --for out"));
        }
        let weight = weight.to_string();
        let more = ["--name", name, "--weight", &weight];
        let undo = self.words("add", &self.in_force.vip.backend(*address), &more);
        Ok(self.deed(name, *address, Override::default(), Some(undo)))
    }

    fn administer(&self, backend: &model::Backend, admin: Admin) -> Deed {
        let before = self.effective.admin(&self.in_force.name, backend.address);
        let by_hand = Override {
            admin: (admin != Admin::Ready).then(|| self.setting(admin)),
            ..self.by_hand(backend.address)
        };
        let undo = self.words(words::admin(before).word(), &backend.name, &[]);
        let undo = (before != admin).then_some(undo);
        self.deed(&backend.name, backend.address, by_hand, undo)
    }

    fn weigh(&self, backend: &model::Backend, weight: u16) -> Result<Deed, Error> {
        if weight > model::MAX_WEIGHT {
            let message = format!(
                "{weight} is not a weight, expected 0 to {}",
                model::MAX_WEIGHT
            );
            return Err(Error::new(Code::Usage, message));
        }
        let in_file = |b: &&model::Backend| b.address == backend.address;
        let file_weight = self.in_file.backends.iter().find(in_file).map(|b| b.weight);
        let by_hand = Override {
            weight: (file_weight != Some(weight)).then(|| self.setting(weight)),
            ..self.by_hand(backend.address)
        };
        let before = backend.weight.to_string();
        let undo = self.words("weight", &backend.name, &[&before]);
        let undo = (backend.weight != weight).then_some(undo);
        Ok(self.deed(&backend.name, backend.address, by_hand, undo))
    }

    /// What is removed by hand may be meant, too.
    fn reset(&self) -> Result<Deed, Error> {
        let is_there = |b: &&model::Backend| {
            self.in_force
                .backends
                .iter()
                .any(|other| other.address == b.address)
        };
        let removed = self.in_file.backends.iter().filter(|b| !is_there(b));
        let all = self.in_force.backends.iter().chain(removed);
        let BackendRequest {
            service, backend, ..
        } = self.request;
        let backend = find(service, backend, self.in_force.vip, all)?;
        Ok(self.deed(&backend.name, backend.address, Override::default(), None))
    }

    fn by_hand(&self, address: SocketAddr) -> Override {
        let by_hand = self.overrides.of(&self.in_force.name, address);
        by_hand.cloned().unwrap_or_default()
    }

    const fn setting<T>(&self, value: T) -> Setting<T> {
        Setting {
            value,
            expires: self.expires,
        }
    }

    fn words(&self, verb: &str, backend: &str, more: &[&str]) -> Vec<String> {
        let words = ["backend", verb, &self.in_force.name, backend];
        let words = words.iter().chain(more);
        words.map(|&word| word.to_owned()).collect()
    }

    fn deed(
        &self,
        backend: &str,
        address: SocketAddr,
        by_hand: Override,
        undo: Option<Vec<String>>,
    ) -> Deed {
        Deed {
            service: self.in_force.name.clone(),
            backend: backend.to_owned(),
            address,
            by_hand,
            undo,
        }
    }
}

/// The backend of a service that a word means.
pub(super) fn find<'a>(
    service: &str,
    word: &str,
    vip: Vip,
    backends: impl Iterator<Item = &'a model::Backend>,
) -> Result<&'a model::Backend, Error> {
    let backends: Vec<&model::Backend> = backends.collect();
    let candidates: Vec<Candidate<'_>> = backends
        .iter()
        .map(|backend| Candidate {
            name: &backend.name,
            address: BackendAddress::of(vip, backend.address),
        })
        .collect();
    let place = resolve::backend(service, word, &candidates)?;
    backends
        .get(place)
        .copied()
        .ok_or_else(|| Error::new(Code::Failed, "a backend was lost"))
}

#[cfg(test)]
mod tests;
