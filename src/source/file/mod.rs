//! Files, read line by line.

use std::collections::BTreeMap;

use super::{Source, SourceReader};
use crate::change::TopicPartition;
use crate::error::{Error, Result};
use crate::options::Options;

/// x
pub struct FileSource {}

impl FileSource {
    /// x
    pub fn new(_: &Options) -> Result<Self> {
        Err(Error::internal("not yet"))
    }
}
impl Source for FileSource {
    fn partitions(&mut self) -> Result<Vec<TopicPartition>> { Ok(vec![]) }
    fn start_offsets(&mut self, _: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> { Ok(BTreeMap::new()) }
    fn end_offsets(&mut self, _: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>> { Ok(BTreeMap::new()) }
    fn reader(&mut self) -> Result<Box<dyn SourceReader>> { Err(Error::internal("not yet")) }
    fn assign(&mut self, _: usize, _: &TopicPartition, _: i64) -> Result<()> { Ok(()) }
    fn commit(&mut self, _: &BTreeMap<TopicPartition, i64>) -> Result<()> { Ok(()) }
    fn maintain(&mut self) -> Result<()> { Ok(()) }
}
