//! Two balancers that tell each other what they know. One has all the traffic, until it dies.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, thread, time::Duration};

use anyhow::Result;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    daemon::Xlb,
    pair::{Balancer, Second},
    pinned,
    wait::eventually,
};

const PATIENCE: Duration = Duration::from_mins(1);
/// How long a daemon is away that is killed.
const AWAY: Duration = Duration::from_millis(500);

pub(super) struct Balancers<'t> {
    pair: &'t Second<'t>,
    files: TempDir,
    first: Xlb<'t>,
    second: Xlb<'t>,
    active: Balancer,
}

impl<'t> Balancers<'t> {
    /// Starts both with what they have in common of a file.
    pub(super) fn start(pair: &'t Second<'t>, common: &str) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let key = key(&files);
        fs::write(&key, "0123456789abcdef0123456789abcdef")?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        let file = |who| pair.lines(who, &key) + common;
        let first = Xlb::start(&pair.topology().balancer.namespace, &file(Balancer::First))?;
        let second = Xlb::start(&pair.namespace, &file(Balancer::Second))?;
        let balancers = Self {
            pair,
            files,
            first,
            second,
            active: Balancer::First,
        };
        balancers.wait_until_connected()?;
        Ok(balancers)
    }

    pub(super) const fn both(&self) -> [&Xlb<'t>; 2] {
        [&self.first, &self.second]
    }

    /// Runs a verb on both.
    pub(super) fn command(&self, words: &[&str]) -> Result<()> {
        for xlb in self.both() {
            xlb.json(words)?;
        }
        Ok(())
    }

    /// Applies another file on both.
    pub(super) fn apply(&self, common: &str) -> Result<()> {
        for (who, xlb) in [Balancer::First, Balancer::Second]
            .into_iter()
            .zip(self.both())
        {
            let file = self.pair.lines(who, &key(&self.files)) + common;
            fs::write(xlb.config_file(), file)?;
            xlb.json(&["apply"])?;
        }
        Ok(())
    }

    /// Kills and starts one after the other. `upgrades`: what was started last had another program.
    pub(super) fn restart(&mut self, upgrades: bool) -> Result<()> {
        for xlb in [&mut self.first, &mut self.second] {
            xlb.kill()?;
            if upgrades {
                pinned::pretend_another_program(&xlb.pins())?;
            }
            thread::sleep(AWAY);
            xlb.start_again()?;
        }
        self.wait_until_connected()
    }

    /// The one that has the traffic.
    pub(super) const fn active(&self) -> Balancer {
        self.active
    }

    /// The one that has the traffic dies, with all that it knows, and the other one gets its traffic.
    pub(super) fn fail_over(&mut self) -> Result<()> {
        let (dead, heir) = match self.active {
            Balancer::First => (&mut self.first, Balancer::Second),
            Balancer::Second => (&mut self.second, Balancer::First),
        };
        dead.kill()?;
        dead.cli(&["detach"])?;
        self.pair.lead_through(heir)?;
        self.active = heir;
        Ok(())
    }

    /// The dead one begins anew, and is told what it has to know.
    pub(super) fn join(&mut self) -> Result<()> {
        let dead = match self.active {
            Balancer::First => &mut self.second,
            Balancer::Second => &mut self.first,
        };
        dead.start_again()?;
        self.wait_until_connected()
    }

    fn wait_until_connected(&self) -> Result<()> {
        let mut both = self.both().into_iter();
        both.try_for_each(|xlb| xlb.wait_until_peer_knows(PATIENCE))
    }

    /// Waits until both find every backend as it is.
    pub(super) fn wait_until_probed(&self, is_up: impl Fn(&str) -> bool) -> Result<()> {
        let is_found = |item: &Value| {
            let lives = item["name"].as_str().is_some_and(&is_up);
            item["state"] == if lives { "up" } else { "down" }
        };
        for xlb in self.both() {
            let probed = || {
                let list = xlb.json(&["backend", "list", "web"]).ok()?;
                list["items"].as_array()?.iter().all(is_found).then_some(())
            };
            eventually("the backends are probed", PATIENCE, probed)?;
        }
        Ok(())
    }
}

fn key(files: &TempDir) -> PathBuf {
    files.path().join("key")
}
