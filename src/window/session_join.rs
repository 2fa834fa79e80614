//! The fragments that lanes have let go → sessions of all partitions.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;

use super::aggregate::{WindowPlan, WindowState};
use super::session_state::{Brief, SessionPlan};
use crate::error::Result;

/// What became of the fragments that the watermark has passed.
#[derive(Debug, Default)]
pub struct Joined {
    /// Groups of sessions that are over: the columns of [`SessionPlan::closed`]'s state.
    pub closed: Vec<RecordBatch>,
    /// Number of sessions that are over and have groups.
    pub sessions: usize,
    /// Fragments of sessions that go on in some lane: they go back.
    pub held: Vec<WindowState>,
}

/// The fragments of states, for lanes to look whether they have neighbours of them.
pub fn briefs(states: &[WindowState], window: &WindowPlan, plan: &SessionPlan) -> Result<Vec<Brief>> {
    let rows = plan.key_rows()?;
    let mut briefs = Vec::new();
    for state in states {
        for fragment in plan.fragments_of(&state.groups, &rows)? {
            let closes_at = plan.closes_at(fragment.last, window.allowed_lateness);
            let end = fragment.last.saturating_add(plan.gap);
            briefs.push(Brief { key: fragment.key, start: fragment.start, end, closes_at, reach: fragment.reach });
        }
    }
    Ok(briefs)
}

/// Joins fragments into sessions. `neighbours` are fragments that are still in a lane: sessions with one of them go on.
pub fn join(states: &[WindowState], neighbours: Vec<Brief>, window: &WindowPlan, plan: &SessionPlan) -> Result<Joined> {
    let mut nodes = briefs(states, window, plan)?;
    let leaving = nodes.len();
    nodes.extend(neighbours);
    let mut sets = Sets((0..nodes.len()).collect());
    let mut by_key: HashMap<&[u8], Vec<usize>> = HashMap::new();
    nodes.iter().enumerate().for_each(|(node, brief)| by_key.entry(&brief.key).or_default().push(node));
    for members in by_key.values().filter(|members| members.len() > 1) {
        for (place, &one) in members.iter().enumerate() {
            for &other in &members[..place] {
                if nodes[one].is_one_session_with(&nodes[other]) {
                    sets.unite(one, other);
                }
            }
        }
    }
    let mut bounds: HashMap<usize, (i64, i64)> = HashMap::new();
    let mut goes_on = vec![false; nodes.len()];
    for (node, brief) in nodes.iter().enumerate() {
        let set = sets.find(node);
        goes_on[set] |= node >= leaving;
        let entry = bounds.entry(set).or_insert((brief.start, brief.end));
        *entry = (entry.0.min(brief.start), entry.1.max(brief.end));
    }
    let (mut joined, mut node) = (Joined::default(), 0);
    let mut over = vec![false; nodes.len()];
    let rows = plan.key_rows()?;
    for state in states {
        let (length, grouped) = (state.groups.num_rows(), plan.grouped(&state.groups)?);
        let (mut held, mut closed) = (vec![false; length], vec![false; length]);
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        for fragment in plan.fragments_of(&state.groups, &rows)? {
            let set = sets.find(node);
            node += 1;
            if goes_on[set] {
                held[fragment.rows].fill(true);
            } else if fragment.has_groups {
                let (start, end) = bounds.get(&set).copied().unwrap_or_default();
                for row in fragment.rows.filter(|&row| grouped.value(row)) {
                    starts.push(start);
                    ends.push(end);
                    closed[row] = true;
                }
                over[set] = true;
            }
        }
        if held.contains(&true) {
            let groups = filter_record_batch(&state.groups, &BooleanArray::from(held))?;
            joined.held.push(WindowState::new(0, 0, groups));
        }
        if !starts.is_empty() {
            let groups = filter_record_batch(&plan.groups_of(&state.groups)?, &BooleanArray::from(closed))?;
            let bounds = [starts, ends].map(|bounds| Arc::new(Int64Array::from(bounds)) as ArrayRef);
            let columns = bounds.into_iter().chain(groups.columns().iter().cloned()).collect();
            joined.closed.push(RecordBatch::try_new(Arc::clone(plan.closed.state_schema()), columns)?);
        }
    }
    joined.sessions = over.into_iter().filter(|over| *over).count();
    Ok(joined)
}

/// Disjoint sets of nodes.
struct Sets(Vec<usize>);

impl Sets {
    fn find(&mut self, mut node: usize) -> usize {
        while self.0[node] != node {
            self.0[node] = self.0[self.0[node]];
            node = self.0[node];
        }
        node
    }

    fn unite(&mut self, one: usize, other: usize) {
        let (one, other) = (self.find(one), self.find(other));
        self.0[one.max(other)] = one.min(other);
    }
}
