//! Servers at every backend of a topology.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use lb_userspace::lab::{Family, Host, Topology};

use crate::servers::{Nginx, UdpNames};

/// Port of the backends' web servers.
pub const WEB: u16 = 8080;

/// Port where the backends tell their names over UDP.
pub const NAMES: u16 = 5353;

/// A web server and a UDP server that tell their name, `b1`, `b2` and so on, at every backend.
#[derive(Debug)]
pub struct Fleet {
    /// The web servers; `None` where one was killed.
    web: Vec<Option<Nginx>>,
    names: Vec<UdpNames>,
}

impl Fleet {
    /// Starts them all.
    ///
    /// # Errors
    /// If one cannot be started, or does not answer.
    pub fn start(topology: &Topology) -> Result<Self> {
        Self::start_at(topology, &[])
    }

    /// The same at backends that have these VIPs, too.
    ///
    /// # Errors
    /// As [`Self::start`], or if one does not have them.
    pub fn start_at(topology: &Topology, vips: &[IpAddr]) -> Result<Self> {
        let mut fleet = Self {
            web: Vec::new(),
            names: Vec::new(),
        };
        for (number, host) in (1..).zip(&topology.backends) {
            fleet.web.push(Some(serve_pages(host, number)?));
            let own = Family::ALL.map(|family| host.link.address.of(family));
            for address in own.iter().chain(vips) {
                fleet.names.push(tell_names(host, number, *address)?);
            }
        }
        Ok(fleet)
    }

    /// The web server of the backend with this number.
    #[must_use]
    pub fn web(&self, number: usize) -> &Nginx {
        self.web[number - 1].as_ref().expect("a server that lives")
    }

    /// Kills the web server of the backend with this number.
    ///
    /// # Errors
    /// If it cannot be ended.
    pub fn kill(&mut self, number: usize) -> Result<()> {
        let mut server = self.web[number - 1].take().context("killed before")?;
        server.kill()
    }

    /// Starts it again.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn revive(&mut self, topology: &Topology, number: usize) -> Result<()> {
        let host = &topology.backends[number - 1];
        self.web[number - 1] = Some(serve_pages(host, number)?);
        Ok(())
    }
}

fn serve_pages(host: &Host, number: usize) -> Result<Nginx> {
    Nginx::start(&host.namespace, &format!("b{number}"), WEB)
}

/// At one address, so that answers come from the one that was asked.
fn tell_names(host: &Host, number: usize, address: IpAddr) -> Result<UdpNames> {
    let name = format!("b{number}");
    UdpNames::start(&host.namespace, &name, SocketAddr::new(address, NAMES))
}
