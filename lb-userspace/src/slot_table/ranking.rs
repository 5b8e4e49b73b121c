//! Weighted rendezvous hashing (highest random weight): which of some backends a slot likes best.
//!
//! A slot ranks backends by [`Score`] (the logarithmic method of Schindelhauer and Schomaker,
//! "Weighted Distributed Hash Tables", 2005), then by identity.

use super::{
    backend::Backend,
    identity::Draw,
    part::Gate,
    score::{Bound, Score, Slope},
};

/// The backends that a slot may choose from, the heaviest first, then by identity: the sooner a good
/// score is found, the fewer are worth a logarithm.
#[derive(Debug)]
pub(super) struct Ranking(Vec<Candidate>);

/// A backend that may be chosen.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    draw: Draw,
    /// The smallest lot that it takes.
    floor: u64,
    slope: Slope,
    weight: u16,
    gate: Gate,
    /// Its index in the table's list of backends.
    backend: u16,
}

/// What a slot chose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// Index of the candidate in its ranking.
    pub(super) candidate: usize,
    pub(super) score: Score,
}

impl Ranking {
    /// Ranks those of `backends` that may own slots and that `admit` lets in.
    pub(super) fn new(backends: &[Backend], admit: impl Fn(&Backend) -> bool) -> Self {
        let mut admitted: Vec<(u16, &Backend)> = (0..)
            .zip(backends)
            .filter(|(_, backend)| backend.weight > 0 && admit(backend))
            .collect();
        admitted
            .sort_by(|(_, a), (_, b)| b.weight.cmp(&a.weight).then(a.identity.cmp(&b.identity)));
        Self(
            admitted
                .into_iter()
                .map(|(index, backend)| Candidate::new(index, backend))
                .collect(),
        )
    }

    /// The candidate that the slot of this key likes best among those that take its lot.
    #[inline]
    pub(super) fn best(&self, slot_key: u64) -> Option<Choice> {
        self.best_of(slot_key, |_| true)
    }

    /// The same, of those that suit it.
    #[inline]
    fn best_of(&self, slot_key: u64, suits: impl Fn(Gate) -> bool) -> Option<Choice> {
        let mut best: Option<Choice> = None;
        let mut bound = Bound::NONE;
        for (index, candidate) in self.0.iter().enumerate() {
            let lot = candidate.draw.lot(slot_key);
            if candidate.slope.least(lot) > bound || lot < candidate.floor || !suits(candidate.gate)
            {
                continue;
            }
            let score = Score::new(lot, candidate.weight);
            if best.is_none_or(|best| score.beats(best.score)) {
                best = Some(Choice {
                    candidate: index,
                    score,
                });
                bound = score.bound();
            }
        }
        best
    }

    /// The index of the backend that the slot likes best among those that suit it.
    pub(super) fn best_backend(&self, slot_key: u64, suits: impl Fn(Gate) -> bool) -> Option<u16> {
        let best = self.best_of(slot_key, suits)?;
        self.0
            .get(best.candidate)
            .map(|candidate| candidate.backend)
    }

    /// The indices of the backends, in the order of the candidates.
    pub(super) fn backends(&self) -> impl Iterator<Item = u16> {
        self.0.iter().map(|candidate| candidate.backend)
    }

    /// Makes a candidate take no lot below `floor`.
    pub(super) fn raise_floor(&mut self, candidate: usize, floor: u64) {
        if let Some(candidate) = self.0.get_mut(candidate) {
            candidate.floor = floor;
        }
    }
}

impl Candidate {
    const fn new(index: u16, backend: &Backend) -> Self {
        let &Backend {
            draw, weight, gate, ..
        } = backend;
        Self {
            draw,
            floor: 0,
            slope: Slope::new(weight),
            weight,
            gate,
            backend: index,
        }
    }
}
