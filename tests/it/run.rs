//! Running queries: in this process, or by the binary.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use highwater::checkpoint::CheckpointStore;
use highwater::error::Result;
use highwater::job::progress::Progress;
use highwater::job::running::Outcome;
use highwater::job::settings::{Ending, Settings};
use highwater::sql::submission::Submission;
use highwater::sql::text::Variables;
use tokio::sync::watch;

/// The longest that anything is waited for.
pub(crate) const WAIT: Duration = Duration::from_secs(120);

/// Runs a future on the tests' own runtime. Jobs need one with several threads.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> =
        LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap());
    RUNTIME.block_on(future)
}

/// A bounded run's settings, with checkpoints that end with the process.
pub(crate) fn bounded(name: &str) -> Settings {
    let mut settings = Settings::new(name, Ending::Bounded, CheckpointStore::in_memory(name));
    settings.flush_interval = Duration::from_millis(200);
    settings
}

/// Checkpoints in a folder.
pub(crate) fn with_checkpoints(mut settings: Settings, folder: &Path) -> Settings {
    settings.checkpoints = CheckpointStore::in_folder(folder, &settings.name).unwrap();
    settings
}

/// Runs a query to its end in this process.
pub(crate) fn run(text: &str, settings: Settings) -> Result<Arc<Progress>> {
    run_until(text, settings, |_| false).map(|(_, progress)| progress)
}

/// Runs a query until it ends, or is stopped because `is_enough` says so.
pub(crate) fn run_until(
    text: &str,
    settings: Settings,
    is_enough: impl Fn(&Progress) -> bool + Send + 'static,
) -> Result<(Outcome, Arc<Progress>)> {
    let progress = Arc::new(Progress::default());
    let (stop, stopped) = watch::channel(false);
    let seen = Arc::clone(&progress);
    block_on(async move {
        let texts = vec![("test.sql".into(), text.to_owned())];
        let submission = Submission::of_texts(texts, &Variables::new(BTreeMap::new()))?;
        let watching = tokio::spawn(async move {
            while !is_enough(&seen) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let _ = stop.send(true);
            // The channel stays open: its end would be a stop as well.
            std::future::pending::<()>().await;
        });
        let done = highwater::job::run::submit(submission, settings, Arc::clone(&progress), stopped).await;
        watching.abort();
        done.map(|outcome| (outcome, progress))
    })
}

/// The binary, without the environment's settings.
pub(crate) fn binary<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
    command.args(arguments).env_remove("HIGHWATER_LOG").env_remove("HIGHWATER_CHECKPOINT_DIR").stdin(Stdio::null());
    command
}

/// What the binary said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Runs the binary to its end.
pub(crate) fn highwater<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Said {
    binary(arguments).output().unwrap().into()
}

/// The binary while it runs. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts the binary; what it says goes to a file.
    pub(crate) fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>, log: &Path) -> Self {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = binary(arguments).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Self { child, log: log.to_owned() }
    }

    /// Everything that it and those before it have said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The exit code, when it has ended.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        send_signal(self.id(), signal);
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(mut self) -> i32 {
        self.signal("TERM");
        self.wait()
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(&mut self) -> i32 {
        let mut code = None;
        wait_until("the binary ends", || {
            code = self.ended();
            code.is_some()
        });
        code.unwrap()
    }

    /// SIGKILL: nothing is finished.
    pub(crate) fn kill(mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

/// Sends a process of ours a signal.
pub(crate) fn send_signal(id: u32, signal: &str) {
    assert!(Command::new("kill").args([&format!("-{signal}"), &id.to_string()]).status().unwrap().success());
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + WAIT;
    while !is_so() {
        assert!(Instant::now() < give_up, "waited {WAIT:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
