//! What is told to a peer, and what it has taken of it: a state machine without clock and socket.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    fault::Fault,
    frame::{Frame, MAX_ITEMS},
    news::{FlowNews, News, Owner, RowNews},
};

/// Rows and flows of one batch.
pub(super) const MAX_ROWS: usize = 4096;
pub(super) const MAX_FLOWS: usize = 8192;

/// Unanswered for so long, a peer is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was told and not yet taken.
#[derive(Debug, Default)]
pub(super) struct Talk {
    sequence: u64,
    /// Marks, since when the news before them is news, and when they were told.
    pending: VecDeque<(u64, Instant, Instant)>,
}

/// What a peer says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It asks for everything.
    Want,
    /// It has taken news; the oldest of it was so old then, at most.
    Lag(Duration),
}

impl Talk {
    /// The frames that tell this. `since`: when the oldest of it may have come up.
    pub(super) fn tell(&mut self, news: &News, since: Instant, now: Instant) -> Vec<Frame> {
        let mut frames = Vec::new();
        for table in news.tables.iter().flat_map(|all| all.chunks(MAX_ITEMS)) {
            frames.push(Frame::Tables(table.to_vec()));
        }
        let (mut rows, mut flows) = (news.rows.chunks(MAX_ROWS), news.flows.chunks(MAX_FLOWS));
        let mut tables = news.tables.is_some();
        loop {
            // All rows first: that of a flow may be told before the flow, and not behind it.
            let row = rows.next();
            let flow = if row.is_some() && rows.len() > 0 {
                None
            } else {
                flows.next()
            };
            let batch = Batch::of(
                &news.owners,
                row.unwrap_or_default(),
                flow.unwrap_or_default(),
            );
            batch.put(&mut frames);
            let is_last = rows.len() == 0 && flows.len() == 0;
            self.sequence += 1;
            frames.push(Frame::Mark {
                sequence: self.sequence,
                tables,
                completes: is_last && news.completes,
            });
            self.pending.push_back((self.sequence, since, now));
            tables = false;
            if is_last {
                return frames;
            }
        }
    }

    /// What a frame of the peer says.
    ///
    /// # Errors
    /// If it cannot be one of its, now.
    pub(super) fn answered(&mut self, frame: &Frame, now: Instant) -> Result<Answer, Fault> {
        match frame {
            Frame::Want => Ok(Answer::Want),
            Frame::Seen { sequence } => self.seen(*sequence, now),
            _ => Err(Fault::OutOfPlace("only answers come this way")),
        }
    }

    fn seen(&mut self, sequence: u64, now: Instant) -> Result<Answer, Fault> {
        match self.pending.pop_front() {
            Some((expected, since, _)) if expected == sequence => {
                Ok(Answer::Lag(now.saturating_duration_since(since)))
            }
            _ => Err(Fault::OutOfPlace("an answer to what was not told")),
        }
    }

    /// How old the oldest news is that is not taken yet.
    pub(super) fn waits(&self, now: Instant) -> Option<Duration> {
        let (_, since, _) = self.pending.front()?;
        Some(now.saturating_duration_since(*since))
    }

    /// Whether the peer has not answered for too long.
    pub(super) fn is_given_up(&self, now: Instant) -> bool {
        let mut oldest = self.pending.iter();
        oldest
            .next()
            .is_some_and(|(_, _, told)| now.saturating_duration_since(*told) > PATIENCE)
    }
}

/// Rows and flows with owners of their own.
#[derive(Default)]
struct Batch {
    owners: Vec<Owner>,
    rows: Vec<RowNews>,
    flows: Vec<FlowNews>,
}

impl Batch {
    fn of(owners: &[Owner], rows: &[RowNews], flows: &[FlowNews]) -> Self {
        let mut batch = Self::default();
        let mut places = HashMap::new();
        for row in rows {
            if let Some(owner) = batch.place(owners, row.owner, &mut places) {
                batch.rows.push(RowNews { owner, ..*row });
            }
        }
        for flow in flows {
            if let Some(owner) = batch.place(owners, flow.owner, &mut places) {
                batch.flows.push(FlowNews { owner, ..*flow });
            }
        }
        batch
    }

    fn place(
        &mut self,
        owners: &[Owner],
        owner: u32,
        places: &mut HashMap<u32, u32>,
    ) -> Option<u32> {
        let name = *owners.get(owner as usize)?;
        let place = *places.entry(owner).or_insert_with(|| {
            self.owners.push(name);
            u32::try_from(self.owners.len() - 1).unwrap_or(u32::MAX)
        });
        Some(place)
    }

    fn put(&self, frames: &mut Vec<Frame>) {
        let owners = self.owners.chunks(MAX_ITEMS);
        frames.extend(owners.map(|owners| Frame::Owners(owners.to_vec())));
        let rows = self.rows.chunks(MAX_ITEMS);
        frames.extend(rows.map(|rows| Frame::Rows(rows.to_vec())));
        let flows = self.flows.chunks(MAX_ITEMS);
        frames.extend(flows.map(|flows| Frame::Flows(flows.to_vec())));
    }
}
