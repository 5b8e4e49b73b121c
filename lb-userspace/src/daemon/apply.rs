//! Configurations: all of one or, where anything is wrong, nothing.

use std::{path::Path, sync::Arc, time::Duration};

use nix::net::if_::if_nametoindex;
use tokio::time::Instant;
use tracing::{error, info};

use super::{
    digest::digest,
    engine::{Engine, SourceInfo, now},
    network::Host,
    sources::{self, HostPorts},
};
use crate::{
    api::{
        Code, Error,
        types::{Applied, ApplyRequest, Source},
    },
    config::{self, Parsed, Report, model::Config},
    peers::{Key, KeyError},
};

/// A configuration that was read and found valid on this host.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) parsed: Parsed,
    pub(super) path: String,
    pub(super) digest: String,
}

impl Loaded {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let text = std::fs::read(path).map_err(|error| {
            Error::new(
                Code::ConfigInvalid,
                format!("error: cannot read {name}: {error}"),
            )
        })?;
        Self::parse(name, &text)
    }

    fn parse(path: String, text: &[u8]) -> Result<Self, Error> {
        let parsed = config::parse(&path, text).map_err(|report| invalid(&report))?;
        parsed
            .check_interfaces(|name| if_nametoindex(name).is_ok())
            .map_err(|report| invalid(&report))?;
        if let Some(peers) = &parsed.config.peers {
            Key::read(&peers.key_file).map_err(|error| no_key(&error))?;
        }
        Ok(Self {
            parsed,
            path,
            digest: digest(text),
        })
    }

    /// What is known of it once it is in force.
    pub(super) fn info(&self) -> SourceInfo {
        let notes = self.parsed.notes.iter();
        SourceInfo {
            path: self.path.clone(),
            digest: self.digest.clone(),
            notes: notes.map(|note| note.render(false)).collect(),
            applied_at: now(),
            last_reload_successful: true,
        }
    }
}

/// A configuration whose key cannot be used.
pub(super) fn no_key(error: &KeyError) -> Error {
    Error::new(Code::ConfigInvalid, format!("error: {error}"))
}

fn invalid(report: &Report) -> Error {
    Error::new(Code::ConfigInvalid, report.render(false))
}

impl Engine {
    /// Applies a configuration and tells how that went: to the caller, the log and the metrics.
    pub(super) fn apply(&mut self, request: &ApplyRequest) -> Result<Applied, Error> {
        let began = Instant::now();
        let applied = self.try_apply(request.source.as_ref(), began);
        self.source.last_reload_successful = applied.is_ok();
        self.events().reload(applied.is_ok());
        match &applied {
            Ok(applied) => info!(
                path = %applied.path,
                revision = applied.revision,
                changed = applied.changed,
                slots_moved = applied.slots_moved,
                took_us = applied.took_us,
                "configuration applied"
            ),
            Err(error) => error!(%error, "configuration refused, the one in force stays"),
        }
        applied
    }

    fn try_apply(&mut self, source: Option<&Source>, began: Instant) -> Result<Applied, Error> {
        let loaded = match source {
            Some(Source { path, text }) => Loaded::parse(path.clone(), text.as_bytes()),
            None => Loaded::read(&self.options.config),
        }?;
        let changed = loaded.parsed.config != self.config;
        let slots_moved = if changed {
            self.install(&loaded)?
        } else {
            // The key may be another one.
            let others = self.peers_of(&loaded.parsed.config)?;
            self.follow_peers(others);
            0
        };
        self.source = SourceInfo {
            applied_at: if changed {
                now()
            } else {
                self.source.applied_at
            },
            ..loaded.info()
        };
        if changed {
            self.saved.revision += 1;
        }
        self.saved.digest = loaded.digest;
        self.save()?;
        Ok(Applied {
            path: loaded.path,
            changed,
            revision: self.saved.revision,
            slots_moved,
            took_us: micros(began.elapsed()),
            notes: self.source.notes.clone(),
        })
    }

    /// Brings a valid configuration into the data path.
    fn install(&mut self, loaded: &Loaded) -> Result<u32, Error> {
        let config = &loaded.parsed.config;
        self.dataplane.check(config)?;
        let host = Host::try_new(self.follower.view(), &config.direct)
            .map_err(|error| Error::new(Code::ConfigInvalid, error.to_string()))?;
        let effective = self.saved.overrides.apply(config);
        sources::refuse(&effective.config, &host, HostPorts::read)?;
        let others = self.peers_of(config)?;
        self.prepare_paths(config)?;
        let before = std::mem::replace(&mut self.host, host);
        let moved = self.settle(&effective).and_then(|moved| {
            self.dataplane.attach(&self.paths.interfaces(config))?;
            Ok(moved)
        });
        match moved {
            Ok(moved) => {
                self.config = config.clone();
                self.adopt(effective);
                self.follow_receivers();
                self.follow_peers(others);
                Ok(moved)
            }
            Err(error) => {
                self.host = before;
                self.go_back();
                Err(error)
            }
        }
    }
}

impl Engine {
    /// Has a link for probes of the path where a configuration wants one.
    pub(super) fn prepare_paths(&mut self, config: &Config) -> Result<(), Error> {
        self.paths.prepare(config, &self.options.instance.name)
    }

    /// Brings back what was in force before an attempt that failed half-way.
    fn go_back(&mut self) {
        let effective = Arc::clone(&self.effective);
        let settled = self.settle(&effective);
        let interfaces = self.paths.interfaces(&self.config);
        let attached = self.dataplane.attach(&interfaces);
        if let Err(error) = settled.and_then(|_| Ok(attached?)) {
            error!(%error, "the data path is not as the configuration in force says");
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
