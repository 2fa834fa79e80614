//! The states of windows that change no more, in an object beside the checkpoint with which they were first saved.
//!
//! ```text
//!  checkpoint  …  12      13      14      15
//!  windows        ▇▇▇▇    ▪       ▪       ▇▇▇▇▇
//!  needed by      12–14   13–14   14      15 …      (15: merged)
//! ```
//!
//! As with kept rows, only who has written the number before can write one. It is forgotten when no checkpoint that is kept
//! names it.

use std::collections::BTreeMap;

use datafusion::arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

use super::encoding::{Kind, assemble, decode_batches, encode_batches, open};
use super::kept_rows::{Head, check};
use super::store::{Beside, CheckpointStore};
use super::writer::Process;
use super::{Checkpoint, Manifest, State};
use crate::error::{Error, Result};
use crate::window::aggregate::{InputId, WindowState};
use crate::window::settled::{SESSIONS, Saved, SavedAt};

/// In the place where a checkpoint says whether it has state.
const SETTLED_WINDOWS: u8 = 4;

/// A state of a checkpoint that is in an object beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledWindow {
    /// The pipeline, by its number in the job.
    pub pipeline: usize,
    /// Which of its inputs.
    pub input: usize,
    /// The start of the window or slice, milliseconds since the epoch.
    pub start: i64,
    /// As [`WindowState::end`].
    pub end: Option<i64>,
    /// How many groups it has.
    pub groups: u64,
    /// Of what is said of the sessions of a lane beside their groups: how many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u64>,
    /// The number of the object.
    pub number: u64,
    /// Its place there.
    pub place: usize,
}

/// The states of a checkpoint that change no more.
fn settled(state: &State) -> impl Iterator<Item = (InputId, &WindowState, &Saved)> {
    let windows = state.windows.iter().flat_map(|(id, windows)| windows.iter().map(move |window| (*id, window)));
    windows.filter_map(|(id, window)| Some((id, window, window.saved.as_ref()?)))
}

/// What a checkpoint says of those, all of which are saved.
fn named(state: &State) -> Result<Vec<SettledWindow>> {
    let name = |(id, window, saved): (InputId, &WindowState, &Saved)| {
        let SavedAt { number, place } = saved.get().ok_or_else(|| Error::internal("a settled window is not saved"))?;
        Ok(SettledWindow {
            pipeline: id.pipeline,
            input: id.input,
            start: window.start,
            end: window.end,
            groups: window.groups.num_rows() as u64,
            sessions: window.groups.schema_ref().metadata().get(SESSIONS).and_then(|count| count.parse().ok()),
            number,
            place,
        })
    };
    settled(state).map(name).collect()
}

pub(super) fn encode_settled(job: &str, number: u64, writer: &Process, states: &[&RecordBatch]) -> Result<Vec<u8>> {
    let head = serde_json::to_vec(&Head::new(job, number, writer)).map_err(Error::internal)?;
    let part = |state: &&RecordBatch| {
        // Which query it is of, the checkpoints say that name it: a changed query may have other numbers.
        Ok((Kind::State(InputId { pipeline: 0, input: 0 }), encode_batches(std::slice::from_ref(*state))?))
    };
    Ok(assemble(&head, SETTLED_WINDOWS, states.iter().map(part).collect::<Result<_>>()?))
}

pub(super) fn decode_settled(bytes: &[u8], number: u64) -> Result<Vec<RecordBatch>, String> {
    check(bytes, number, SETTLED_WINDOWS)?;
    let parts = open(bytes)?.parts()?;
    let one = |part: &[u8]| decode_batches(part)?.into_iter().next().ok_or_else(|| "a state is missing".to_owned());
    parts.into_iter().map(|(_, part)| one(part)).collect()
}

impl CheckpointStore {
    /// Saves what has settled since earlier checkpoints, and says where all is that has.
    pub(super) async fn save_settled(
        &self,
        number: u64,
        writer: &Process,
        state: &State,
    ) -> Result<Vec<SettledWindow>> {
        let fresh: Vec<_> = settled(state).filter(|(_, _, saved)| saved.get().is_none()).collect();
        if !fresh.is_empty() {
            let groups: Vec<_> = fresh.iter().map(|(_, window, _)| &window.groups).collect();
            self.put_beside(Beside::Windows, number, encode_settled(self.job(), number, writer, &groups)?).await?;
            for (place, (_, _, saved)) in fresh.into_iter().enumerate() {
                saved.set(SavedAt { number, place });
            }
        }
        named(state)
    }

    /// Adds to the state of a checkpoint what is saved beside it, or says what is wrong with that.
    pub(super) async fn add_settled(&self, checkpoint: &mut Checkpoint) -> Result<Result<(), String>> {
        let Checkpoint { manifest: Manifest { settled, .. }, state: Some(state), .. } = checkpoint else {
            return Ok(Ok(()));
        };
        let mut objects: BTreeMap<u64, Vec<RecordBatch>> = BTreeMap::new();
        for window in settled {
            let number = window.number;
            let damaged = |damage| Ok(Err(format!("the windows of checkpoint {number}, which it builds on: {damage}")));
            if let std::collections::btree_map::Entry::Vacant(entry) = objects.entry(number) {
                match self.load_beside(Beside::Windows, number).await?.and_then(|bytes| decode_settled(&bytes, number))
                {
                    Ok(states) => _ = entry.insert(states),
                    Err(damage) => return damaged(damage),
                }
            }
            let Some(groups) = objects.get(&number).and_then(|states| states.get(window.place)) else {
                return damaged("one is missing".to_owned());
            };
            let id = InputId { pipeline: window.pipeline, input: window.input };
            let saved = Saved::at(SavedAt { number, place: window.place });
            let SettledWindow { start, end, .. } = *window;
            let window = WindowState { start, end, groups: groups.clone(), changed: None, saved: Some(saved) };
            state.windows.entry(id).or_default().push(window);
        }
        Ok(Ok(()))
    }
}
