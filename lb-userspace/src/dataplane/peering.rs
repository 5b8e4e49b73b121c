//! What the data plane has to do with other balancers: news for them, and theirs for it.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use super::{Dataplane, Error, counters};
use crate::{
    config::model::Vip,
    desired::{
        Guests,
        peering::{self, Parked, Taker, Telling},
    },
    peers::{News, Owner, TableNews, Taken},
};

/// What is known of what peers know.
#[derive(Debug)]
pub(super) struct Peering {
    telling: Telling,
    parked: Parked,
    /// Whether rows may have changed since they were last looked at, or it is time to look.
    rows_are_due: bool,
    /// Whether any row moves, as far as is known.
    is_moving: bool,
    /// Whether a peer has told all that it knew: from then on what this balancer has seen itself is not all
    /// that there is.
    is_complete: bool,
}

impl Peering {
    fn new(buckets: u32) -> Self {
        Self {
            telling: Telling::new(buckets),
            parked: Parked::default(),
            rows_are_due: true,
            is_moving: true,
            is_complete: false,
        }
    }

    /// Rows may move.
    pub(super) const fn expect_rows(&mut self) {
        self.rows_are_due = true;
        self.is_moving = true;
    }

    /// It is known whether any moves. That the last one does not any more is news, too.
    pub(super) const fn note(&mut self, is_moving: bool) {
        self.rows_are_due = is_moving || self.is_moving;
        self.is_moving = is_moving;
    }

    /// Whether flows of backends without traffic may be known to peers.
    pub(super) const fn is_complete(&self) -> bool {
        self.is_complete
    }
}

impl Dataplane {
    /// Begins, or ends, to look for news for peers.
    pub fn tell_peers(&mut self, tells: bool) {
        let tells = tells && self.tracks();
        if tells != self.peering.is_some() {
            let buckets = self.maps.sizes().buckets;
            self.peering = tells.then(|| Peering::new(buckets));
        }
    }

    /// What is news for peers since it was last asked. While nothing moves and nothing is tracked, nothing is
    /// looked at.
    pub fn news(&mut self) -> News {
        let mut news = News::default();
        let now = self.time.clock().now;
        let Some(peering) = &mut self.peering else {
            return news;
        };
        if peering.rows_are_due {
            peering.rows_are_due = false;
            let telling = &mut peering.telling;
            telling.rows(&self.maps, &self.installed, now, &mut news);
        }
        if peering.is_moving || !self.tracks.is_empty() {
            let telling = &mut peering.telling;
            telling.flows(&self.maps, &self.installed, now, &mut news);
        }
        news
    }

    /// All that a peer may be told that knows nothing.
    #[must_use]
    pub fn all_news(&self) -> News {
        let now = self.time.clock().now;
        let mut news = News {
            tables: Some(self.tables()),
            completes: true,
            ..News::default()
        };
        let mut telling = Telling::new(self.maps.sizes().buckets);
        telling.rows(&self.maps, &self.installed, now, &mut news);
        telling.flows(&self.maps, &self.installed, now, &mut news);
        news
    }

    /// Who has flows by a peer's account and is none of the backends here, of services that are.
    #[must_use]
    pub fn strangers(&self, news: &News) -> Guests {
        let is_strange = |owner: &&Owner| {
            let service = self.installed.service(owner.vip);
            service.is_some_and(|service| {
                let mut known = service.backends();
                known.all(|(_, entry)| entry.address != owner.address)
            })
        };
        let strangers = news.owners.iter().filter(is_strange);
        strangers.map(|owner| (owner.vip, owner.address)).collect()
    }

    /// Whether flows may be with a backend that the configuration does not name.
    #[must_use]
    pub fn has_flows_of(&self, (vip, address): (Vip, SocketAddr)) -> bool {
        let service = self.installed.service(vip);
        service.is_some_and(|service| service.has_flows_of(address, self.tracks.tracks()))
    }

    /// Takes over what a peer tells.
    ///
    /// # Errors
    /// Where a map is not as it was.
    pub fn take(&mut self, news: &News) -> Result<Taken, Error> {
        let traffic = self.traffic_of(news);
        let Some(peering) = &mut self.peering else {
            return Ok(Taken::default());
        };
        let taker = Taker {
            now: self.time.clock().now,
            buckets: self.maps.sizes().buckets,
            has_traffic: &|pair| traffic.get(&pair).is_none_or(|has| *has),
        };
        let memory = (&mut peering.telling, &mut peering.parked);
        let taken = peering::take(&mut self.maps, &mut self.installed, memory, news, &taker)?;
        peering.rows_are_due |= peering.telling.is_due();
        peering.is_complete |= news.completes;
        if taken.rows > 0 {
            peering.is_moving = true;
        }
        self.tracks.expect(taken.flows);
        Ok(taken)
    }

    /// Takes over what was told of backends while they were down here.
    pub(super) fn take_parked(&mut self) -> Result<(), Error> {
        let Some(peering) = &mut self.peering else {
            return Ok(());
        };
        let installed = &self.installed;
        let is_back = |owner: &Owner| peering::is_up(installed, owner);
        let now = self.time.clock().now;
        match peering.parked.of_those_back(now, is_back) {
            Some(news) => self.take(&news).map(drop),
            None => Ok(()),
        }
    }

    /// Whether packets went to the backends of services whose rows are told.
    fn traffic_of(&self, news: &News) -> HashMap<u32, bool> {
        let owners = news.rows.iter().filter_map(|row| {
            let owner = news.owners.get(row.owner as usize)?;
            Some(owner.vip)
        });
        let vips: HashSet<_> = owners.collect();
        let services = vips
            .into_iter()
            .filter_map(|vip| self.installed.service(vip));
        let pairs = services.flat_map(|service| service.backends().map(|(pair, _)| pair));
        let has_traffic = |pair| (pair, counters::has_traffic(&self.maps, pair));
        pairs.map(has_traffic).collect()
    }

    /// The slot tables, to be compared with those of peers.
    #[must_use]
    pub fn tables(&self) -> Vec<TableNews> {
        let vips = self.installed.vips();
        let table = |vip| {
            let service = self.installed.service(vip)?;
            Some(TableNews {
                vip,
                slots: service.slots(),
                checksum: service.checksum()?,
            })
        };
        vips.filter_map(table).collect()
    }
}
