//! A TCP proxy before a service, which does to the connections what it is told.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mood {
    /// All arrives.
    Fair,
    /// New connections are closed, and those that there are at once.
    Cut,
    /// What is sent arrives, the answer does not, and the connection is closed.
    Unanswered,
    /// Only the beginning of what is sent arrives.
    Torn,
    /// The service has trouble of its own.
    Error,
    /// Everything takes a hundred times as long.
    Slow,
    /// Nothing moves, and nothing is closed.
    Stuck,
}

pub(crate) const MOODS: [Mood; 7] =
    [Mood::Fair, Mood::Cut, Mood::Unanswered, Mood::Torn, Mood::Error, Mood::Slow, Mood::Stuck];

/// What a server that is full answers.
const TROUBLE: &str = "Code: 252. DB::Exception: Too many parts (300). Merges are processing significantly slower than inserts. (TOO_MANY_PARTS)";

pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    mood: AtomicU8,
    ended: AtomicBool,
    /// How many connections each mood has met.
    met: [AtomicUsize; MOODS.len()],
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Before a service at `host:port`.
    pub(crate) fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            mood: AtomicU8::new(Mood::Fair as u8),
            ended: AtomicBool::new(false),
            met: Default::default(),
            open: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().filter_map(Result::ok) {
                if accepting.ended.load(SeqCst) {
                    return;
                }
                accepting.take(client);
            }
        });
        Self { port, shared }
    }

    /// From now on, also for the connections that there are.
    pub(crate) fn set(&self, mood: Mood) {
        self.shared.mood.store(mood as u8, SeqCst);
        if mood == Mood::Cut {
            for connection in self.shared.open.lock().unwrap().drain(..) {
                self.shared.meet(mood);
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
    }

    /// How often connections have met each mood.
    pub(crate) fn met(&self) -> Vec<(Mood, usize)> {
        MOODS.iter().map(|&mood| (mood, self.shared.met[mood as usize].load(SeqCst))).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, SeqCst);
        self.set(Mood::Cut);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn mood(&self) -> Mood {
        MOODS[usize::from(self.mood.load(SeqCst))]
    }

    fn meet(&self, mood: Mood) {
        self.met[mood as usize].fetch_add(1, SeqCst);
    }

    fn take(self: &Arc<Self>, client: TcpStream) {
        if self.mood() == Mood::Cut {
            return self.meet(Mood::Cut);
        }
        let Ok(server) = TcpStream::connect(&self.target) else { return };
        let copy = |stream: &TcpStream| stream.try_clone().unwrap();
        self.open.lock().unwrap().extend([copy(&client), copy(&server)]);
        let (shared, from, to) = (Arc::clone(self), copy(&client), copy(&server));
        std::thread::spawn(move || shared.carry(from, to, true));
        let shared = Arc::clone(self);
        std::thread::spawn(move || shared.carry(server, client, false));
    }

    /// Carries bytes one way, until one side ends or its mood ends it.
    fn carry(&self, mut from: TcpStream, mut to: TcpStream, is_request: bool) {
        let mut buffer = [0; 8 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let mood = self.mood();
            self.meet(mood);
            match (mood, is_request) {
                (Mood::Fair, _) | (Mood::Unanswered, true) => {}
                (Mood::Cut, _) | (Mood::Unanswered, false) => break,
                (Mood::Torn, _) => {
                    let _ = to.write_all(&buffer[..count / 2]);
                    break;
                }
                (Mood::Error, true) => {
                    // The client is answered here; the server gets nothing.
                    let length = TROUBLE.len();
                    let answer = format!(
                        "HTTP/1.1 500 Internal Server Error\r\nX-ClickHouse-Exception-Code: 252\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{TROUBLE}"
                    );
                    let _ = from.write_all(answer.as_bytes());
                    break;
                }
                (Mood::Error, false) => break,
                (Mood::Slow, _) => std::thread::sleep(Duration::from_millis(100)),
                (Mood::Stuck, _) => {
                    while self.mood() == Mood::Stuck {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
