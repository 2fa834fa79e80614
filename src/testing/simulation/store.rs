//! A checkpoint store that fails, is full for a while, answers too late or not at all.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::world::World;
use crate::checkpoint::CheckpointStore;

/// Objects in memory, which outlive the processes that write them.
pub(super) struct SimulatedStore {
    world: Arc<World>,
    objects: Arc<InMemory>,
    /// One in so many calls fails.
    failing: u64,
    full_until: Mutex<Duration>,
}

impl fmt::Debug for SimulatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for SimulatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a simulated store")
    }
}

impl SimulatedStore {
    pub(super) fn new(world: &Arc<World>, failing: u64) -> Arc<Self> {
        let (world, objects) = (Arc::clone(world), Arc::new(InMemory::new()));
        Arc::new(Self { world, objects, failing, full_until: Mutex::default() })
    }

    /// Damages some of the newest objects, unless nothing could be gone on from then. Each is changed, cut off, or removed where
    /// that leaves a gap: that a job has had checkpoints after its newest can be known by nothing else.
    pub(super) fn damage(&self) {
        let (objects, world) = (&self.objects, &self.world);
        let found = futures::executor::block_on(objects.list(None).collect::<Vec<_>>());
        let mut paths: Vec<Path> = found.into_iter().filter_map(|it| Some(it.ok()?.location)).collect();
        // "checkpoint-", "rows-" and "windows-", each in the order of their numbers.
        paths.sort();
        let newest = paths.iter().rev().find(|path| path.as_ref().contains("checkpoint-")).cloned();
        if world.one_in(3) {
            paths.retain(|path| !path.as_ref().contains("checkpoint-"));
        } else {
            paths.retain(|path| path.as_ref().contains("checkpoint-"));
        }
        let count = [1, 2, 8, 30][world.below(4) as usize];
        for path in paths.into_iter().rev().take(count) {
            let get = async { objects.get_opts(&path, GetOptions::default()).await?.bytes().await };
            let Ok(whole) = futures::executor::block_on(get) else { continue };
            let mut bytes = whole.to_vec();
            // Cut off before its first byte.
            if bytes.is_empty() {
                continue;
            }
            let place = world.below(bytes.len() as u64) as usize;
            match world.below(3) {
                0 if Some(&path) != newest.as_ref() => {
                    let one = futures::stream::iter([Ok(path.clone())]).boxed();
                    futures::executor::block_on(objects.delete_stream(one).collect::<Vec<_>>());
                }
                1 => {
                    bytes.truncate(place);
                    self.replace(&path, bytes);
                }
                _ => {
                    bytes[place] ^= 1 << world.below(8);
                    self.replace(&path, bytes);
                }
            }
            let left = CheckpointStore::in_store(Arc::clone(objects) as _, "the simulated store", "j");
            if matches!(futures::executor::block_on(left.recover()), Ok((_, Some(_)))) {
                world.note(&format!("{path} is damaged"));
            } else {
                self.replace(&path, whole.to_vec());
                return;
            }
        }
    }

    fn replace(&self, path: &Path, bytes: Vec<u8>) {
        futures::executor::block_on(self.objects.put_opts(path, bytes.into(), PutOptions::default())).unwrap();
    }

    fn fails(&self) -> bool {
        self.world.strikes(self.failing)
    }
}

fn failed(what: &str) -> Error {
    Error::Generic { store: "simulated", source: what.to_owned().into() }
}

#[async_trait]
impl ObjectStore for SimulatedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.world.point(&format!("put {location}")).await;
        self.world.sleep(self.world.moment(5)).await;
        if self.world.elapsed() < *self.full_until.lock().unwrap() {
            return Err(failed("no space left on device"));
        }
        if self.world.strikes(self.failing * 3) {
            *self.full_until.lock().unwrap() = self.world.elapsed() + self.world.moment(2_000);
            return Err(failed("no space left on device"));
        }
        if self.fails() {
            return Err(failed("connection reset before anything was stored"));
        }
        let put = self.objects.put_opts(location, payload, opts).await;
        self.world.point(&format!("put {location}: {}", if put.is_ok() { "stored" } else { "refused" })).await;
        if self.fails() {
            return Err(failed("timed out, nobody knows"));
        }
        put
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(failed("not simulated"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.world.point(&format!("get {location}")).await;
        self.world.sleep(self.world.moment(5)).await;
        if self.fails() {
            return Err(failed("connection refused"));
        }
        self.objects.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (world, objects, fails) = (Arc::clone(&self.world), Arc::clone(&self.objects), self.fails());
        let delete = move |location: Result<Path>| {
            let (world, objects) = (Arc::clone(&world), Arc::clone(&objects));
            async move {
                let location = location?;
                world.point(&format!("delete {location}")).await;
                if fails {
                    return Err(failed("connection refused"));
                }
                let one = futures::stream::iter([Ok(location.clone())]).boxed();
                objects.delete_stream(one).collect::<Vec<_>>().await.into_iter().collect::<Result<Vec<_>>>()?;
                Ok(location)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if !self.world.step("list") || self.fails() {
            return futures::stream::iter([Err(failed("connection refused"))]).boxed();
        }
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.world.point("list").await;
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.world.point("copy").await;
        self.objects.copy_opts(from, to, options).await
    }
}
