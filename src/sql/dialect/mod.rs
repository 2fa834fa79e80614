//! Other forms and engines' words, put into those that we have: before a query is planned.

pub(super) mod cast_names;
pub(super) mod functions;
pub(super) mod group_keys;
pub(super) mod group_windows;
pub(super) mod other_names;
pub(super) mod patterns;
pub(super) mod rewrite;
pub(super) mod spark;
pub(super) mod standard;
pub(super) mod unnest;
pub(super) mod window_words;
