//! What peers tell of backends that are down here: they may have seen them return a moment before this balancer does,
//! and what they tell once they do not tell again for long.

use crate::peers::{FlowNews, News, Owner, RowNews};

/// Entries that are kept; of more, the oldest are forgotten.
const MOST: usize = 65_536;

/// What was told of such backends, and in which second of the data path.
#[derive(Clone, Debug, Default)]
pub struct Parked {
    rows: Vec<(Owner, RowNews, u32)>,
    flows: Vec<(Owner, FlowNews, u32)>,
}

impl Parked {
    pub(super) fn row(&mut self, owner: Owner, row: RowNews, now: u32) {
        push(&mut self.rows, (owner, row, now));
    }

    pub(super) fn flow(&mut self, owner: Owner, flow: FlowNews, now: u32) {
        push(&mut self.flows, (owner, flow, now));
    }

    /// What is to be taken now that some of the backends are back, by so much older.
    pub fn of_those_back(&mut self, now: u32, is_back: impl Fn(&Owner) -> bool) -> Option<News> {
        let rows = self.rows.extract_if(.., |(owner, ..)| is_back(owner));
        let rows: Vec<_> = rows.collect();
        let flows = self.flows.extract_if(.., |(owner, ..)| is_back(owner));
        let flows: Vec<_> = flows.collect();
        if rows.is_empty() && flows.is_empty() {
            return None;
        }
        let mut news = News::default();
        for (owner, row, then) in rows {
            let owner = place(&mut news, owner);
            let (quiet, age) = (older(row.quiet, then, now), older(row.age, then, now));
            let quiet = quiet.min(RowNews::AT_REST - 1);
            news.rows.push(RowNews {
                owner,
                quiet,
                age,
                ..row
            });
        }
        for (owner, flow, then) in flows {
            let owner = place(&mut news, owner);
            let age = older(flow.age, then, now);
            news.flows.push(FlowNews { owner, age, ..flow });
        }
        Some(news)
    }
}

fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() == MOST {
        list.drain(..MOST / 2);
    }
    list.push(item);
}

fn place(news: &mut News, owner: Owner) -> u32 {
    let known = news.owners.iter().position(|other| *other == owner);
    let place = known.unwrap_or_else(|| {
        news.owners.push(owner);
        news.owners.len() - 1
    });
    u32::try_from(place).unwrap_or(u32::MAX)
}

fn older(age: u16, then: u32, now: u32) -> u16 {
    let passed = u16::try_from(now.saturating_sub(then)).unwrap_or(u16::MAX);
    age.saturating_add(passed)
}
