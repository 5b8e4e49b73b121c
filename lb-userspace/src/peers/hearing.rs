//! What a peer tells, put together: a state machine without clock and socket.

use super::{
    fault::Fault,
    frame::Frame,
    news::News,
    talk::{MAX_FLOWS, MAX_ROWS},
};

/// Tables that a peer may have.
const MAX_TABLES: usize = 65_536;

/// A batch that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    sequence: u64,
    news: News,
}

impl Hearing {
    /// Takes a frame; with the last of a batch: its number, and its news.
    ///
    /// # Errors
    /// If it cannot come now, or more than was agreed.
    pub(super) fn take(&mut self, frame: Frame) -> Result<Option<(u64, News)>, Fault> {
        let news = &mut self.news;
        match frame {
            Frame::Tables(tables) => {
                append(news.tables.get_or_insert_default(), tables, MAX_TABLES)
            }
            Frame::Owners(owners) => append(&mut news.owners, owners, MAX_ROWS + MAX_FLOWS),
            Frame::Rows(rows) => append(&mut news.rows, rows, MAX_ROWS),
            Frame::Flows(flows) => append(&mut news.flows, flows, MAX_FLOWS),
            Frame::Mark {
                sequence,
                tables,
                completes,
            } => return self.mark(sequence, tables, completes).map(Some),
            Frame::Hello { .. } | Frame::Seen { .. } | Frame::Want => {
                Err(Fault::OutOfPlace("only news comes this way"))
            }
        }?;
        Ok(None)
    }

    fn mark(&mut self, sequence: u64, tables: bool, completes: bool) -> Result<(u64, News), Fault> {
        let mut news = std::mem::take(&mut self.news);
        self.sequence += 1;
        if sequence != self.sequence {
            return Err(Fault::OutOfPlace("a batch is missing"));
        }
        if tables {
            news.tables.get_or_insert_default();
        } else if news.tables.is_some() {
            return Err(Fault::OutOfPlace("tables that are not announced"));
        }
        let is_named = |owner: u32| (owner as usize) < news.owners.len();
        let rows = news.rows.iter().all(|row| is_named(row.owner));
        if !rows || !news.flows.iter().all(|flow| is_named(flow.owner)) {
            return Err(Fault::OutOfPlace("an owner that was not named"));
        }
        news.completes = completes;
        Ok((sequence, news))
    }
}

fn append<T>(to: &mut Vec<T>, items: Vec<T>, most: usize) -> Result<(), Fault> {
    to.extend(items);
    if to.len() > most {
        return Err(Fault::OutOfPlace("more than a batch may hold"));
    }
    Ok(())
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "numbers of a few thousand things"
)]
mod tests {
    use std::time::Duration;

    use proptest::{collection::vec, prelude::*};
    use tokio::time::Instant;

    use super::*;
    use crate::peers::{
        frame::MAX_ITEMS,
        news::{FlowNews, Owner, RowNews, TableNews},
        talk::{Answer, Talk},
    };

    fn owner(number: usize) -> Owner {
        Owner {
            vip: "203.0.113.10:80/tcp".parse().unwrap(),
            address: ([10, 0, (number >> 8) as u8, number as u8], 80).into(),
        }
    }

    fn news(owners: usize, rows: usize, flows: usize, tables: Option<usize>) -> News {
        let place = |n: usize| (n * 7 % owners.max(1)) as u32;
        let row = |n| RowNews {
            owner: place(n),
            slot: n as u32,
            log2_slots: 16,
            quiet: 1,
            age: 2,
        };
        let flow = |n| FlowNews {
            owner: place(n),
            hash: n as u64,
            age: 3,
            closing: n % 2 == 0,
        };
        let table = |n| TableNews {
            vip: owner(0).vip,
            slots: 4096,
            checksum: n as u64,
        };
        News {
            tables: tables.map(|tables| (0..tables).map(table).collect()),
            owners: (0..owners).map(owner).collect(),
            rows: (0..rows).map(row).collect(),
            flows: (0..flows).map(flow).collect(),
            completes: flows % 2 == 1,
        }
    }

    /// Rows and flows with their owners' names.
    fn named(news: &[News]) -> Vec<(Owner, u32, u64)> {
        let rows = news.iter().flat_map(|news| {
            let rows = news.rows.iter();
            rows.map(|row| (news.owners[row.owner as usize], row.slot, 0))
        });
        let flows = news.iter().flat_map(|news| {
            let flows = news.flows.iter();
            flows.map(|flow| (news.owners[flow.owner as usize], 0, flow.hash))
        });
        rows.chain(flows).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn what_is_told_is_heard(
            parts in vec((1..700usize, 0..9000usize, 0..20_000usize, prop::option::of(0..1200usize)), 1..3),
        ) {
            let (mut talk, mut hearing) = (Talk::default(), Hearing::default());
            let now = Instant::now();
            for (owners, rows, flows, tables) in parts {
                let told = news(owners, rows, flows, tables);
                let frames = talk.tell(&told, now, now);
                let mut heard = Vec::new();
                for frame in frames {
                    if let Some((sequence, news)) = hearing.take(frame).unwrap() {
                        let later = now + Duration::from_millis(5);
                        let seen = Frame::Seen { sequence };
                        let answer = talk.answered(&seen, later).unwrap();
                        prop_assert_eq!(answer, Answer::Lag(Duration::from_millis(5)));
                        heard.push(news);
                    }
                }
                prop_assert_eq!(named(&heard), named(std::slice::from_ref(&told)));
                let tables = heard.first().and_then(|news| news.tables.clone());
                prop_assert_eq!(tables, told.tables);
                prop_assert!(heard.iter().skip(1).all(|news| news.tables.is_none()));
                prop_assert_eq!(heard.iter().filter(|news| news.completes).count(), usize::from(told.completes));
                prop_assert_eq!(talk.waits(now), None);
            }
        }

        /// Whatever a peer says, memory is bounded, and what comes out names its owners.
        #[test]
        fn any_frames_are_refused_or_make_sense(kinds in vec((0..7u8, 0..MAX_ITEMS), 0..60)) {
            let mut hearing = Hearing::default();
            for (kind, number) in kinds {
                let some = news(number, number, number, Some(number));
                let frame = match kind {
                    0 => Frame::Owners(some.owners),
                    1 => Frame::Rows(some.rows),
                    2 => Frame::Flows(some.flows),
                    3 => Frame::Tables(some.tables.unwrap()),
                    4 => Frame::Want,
                    _ => Frame::Mark { sequence: hearing.sequence + 1, tables: number % 2 == 0, completes: true },
                };
                let Ok(heard) = hearing.take(frame) else { break };
                prop_assert!(hearing.news.entries() <= MAX_ROWS + MAX_FLOWS);
                if let Some((_, news)) = heard {
                    prop_assert_eq!(named(std::slice::from_ref(&news)).len(), news.entries());
                }
            }
        }
    }

    #[test]
    fn answers_must_be_to_what_was_told_and_may_not_take_for_ever() {
        let (mut talk, now) = (Talk::default(), Instant::now());
        assert_eq!(talk.answered(&Frame::Want, now).unwrap(), Answer::Want);
        talk.answered(&Frame::Seen { sequence: 1 }, now)
            .unwrap_err();
        talk.tell(&News::default(), now, now);
        talk.answered(
            &Frame::Mark {
                sequence: 1,
                tables: false,
                completes: false,
            },
            now,
        )
        .unwrap_err();
        let soon = now + Duration::from_secs(9);
        assert_eq!(talk.waits(soon), Some(Duration::from_secs(9)));
        assert!(!talk.is_given_up(soon));
        assert!(talk.is_given_up(now + Duration::from_secs(11)));
    }

    #[test]
    fn a_batch_that_is_missing_is_noticed() {
        let mut hearing = Hearing::default();
        let mark = |sequence| Frame::Mark {
            sequence,
            tables: false,
            completes: false,
        };
        assert!(hearing.take(mark(1)).unwrap().is_some());
        assert_eq!(
            hearing.take(mark(3)).unwrap_err().label(),
            Some("malformed")
        );
    }
}
