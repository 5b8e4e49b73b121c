//! Servers at every backend of a topology.

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};
use lb_userspace::lab::{Host, Topology};

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
    _names: Vec<UdpNames>,
}

impl Fleet {
    /// Starts them all.
    ///
    /// # Errors
    /// If one cannot be started, or does not answer.
    pub fn start(topology: &Topology) -> Result<Self> {
        let hosts = || (1..).zip(&topology.backends);
        let web = hosts().map(|(number, host)| serve_pages(host, number).map(Some));
        let names = hosts().map(|(number, host)| tell_names(host, number));
        Ok(Self {
            web: web.collect::<Result<_>>()?,
            _names: names.collect::<Result<_>>()?,
        })
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

fn tell_names(host: &Host, number: usize) -> Result<UdpNames> {
    // A socket of both families answers from the address that was asked, as a server with one
    // address does.
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, NAMES));
    UdpNames::start(&host.namespace, &format!("b{number}"), address)
}
