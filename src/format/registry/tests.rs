//! The registry's client against a registry that says what a test wants.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::tests::options;
use super::*;
use crate::avro::schema::Shape;

/// What was asked: path and `authorization`.
type Asked = (String, Option<String>);
type Answers = HashMap<String, (u16, String)>;

/// A registry on this machine; it is gone when this is dropped.
pub(in crate::format) struct Server {
    pub(in crate::format) url: String,
    answers: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    gone: Arc<AtomicBool>,
}

impl Server {
    pub(in crate::format) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (answers, asked, gone) = (Arc::default(), Arc::default(), Arc::new(AtomicBool::new(false)));
        let server = Self { url, answers, asked, gone };
        let (answers, asked, gone) = (server.answers.clone(), server.asked.clone(), server.gone.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if gone.load(Ordering::SeqCst) {
                    return;
                }
                answer(stream.unwrap(), &answers, &asked);
            }
        });
        server
    }

    pub(in crate::format) fn answers(&self, path: &str, status: u16, body: &str) {
        self.answers.lock().unwrap().insert(path.to_owned(), (status, body.to_owned()));
    }

    /// Has a schema under an id.
    pub(in crate::format) fn has(&self, id: u32, schema: &str) {
        let body = serde_json::json!({ "schema": schema }).to_string();
        self.answers(&format!("/schemas/ids/{id}"), 200, &body);
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

fn answer(mut stream: TcpStream, answers: &Mutex<Answers>, asked: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let Some(path) = lines.first().and_then(|line| line.split(' ').nth(1)) else { return };
    let authorization = lines.iter().find_map(|line| {
        line.split_once(": ")
            .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
            .map(|(_, it)| it.to_owned())
    });
    asked.lock().unwrap().push((path.to_owned(), authorization));
    let not_found = (404, r#"{"error_code":40403,"message":"Schema not found"}"#.to_owned());
    let (status, body) = answers.lock().unwrap().get(path).cloned().unwrap_or(not_found);
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
    let _ = reader.get_mut().take(0).read(&mut []);
}

/// A registry of a table; each test has its own, as they are shared by options.
fn registry(table: &str, more: &[(&str, &str)]) -> Result<Arc<Registry>> {
    let list = options(more);
    let options = Options::new(table, list.all().clone());
    Registry::shared(&options, "avro-confluent")
}

fn at(table: &str, url: &str) -> Arc<Registry> {
    registry(table, &[("avro-confluent.url", url)]).unwrap()
}

fn is_string(found: &Result<Found>) -> bool {
    matches!(found, Ok(Found::Schema(schema)) if matches!(schema.node(schema.root).shape, Shape::String))
}

/// The same, after the pause that follows a failure.
fn again<T>(ask: impl Fn() -> Result<T>) -> Result<T> {
    std::thread::sleep(PAUSE + Duration::from_millis(50));
    ask()
}

#[test]
fn a_schema_is_asked_for_once_by_all_lanes() {
    let server = Server::start();
    server.has(7, "\"string\"");
    let (one, other) = (at("once", &server.url), at("once", &server.url));
    assert!(Arc::ptr_eq(&one, &other));
    assert!(is_string(&one.schema(7)) && is_string(&other.schema(7)) && is_string(&one.schema(7)));
    assert_eq!(server.asked(), ["/schemas/ids/7"]);
    assert!(!Arc::ptr_eq(&one, &at("another", &server.url)));
}

#[test]
fn a_registry_that_is_away_is_a_transient_error_until_it_is_back() {
    let server = Server::start();
    server.has(3, "\"string\"");
    server.answers("/schemas/ids/3", 503, "out for lunch");
    let registry = at("away", &server.url);
    let error = registry.schema(3).unwrap_err();
    assert!(error.is_transient());
    assert_eq!(
        error.to_string(),
        format!(
            "cannot get schema id 3 of table \"away\" from the schema registry {0}/: {0}/schemas/ids/3: \
             503 Service Unavailable, out for lunch",
            server.url
        )
    );
    // Nobody asks again at once.
    assert!(registry.schema(3).unwrap_err().is_transient());
    assert_eq!(server.asked().len(), 1);
    for status in [429, 500, 502, 404] {
        server.answers("/schemas/ids/3", status, "");
        assert!(again(|| registry.schema(3)).unwrap_err().is_transient(), "{status}");
    }
    server.has(3, "\"string\"");
    assert!(is_string(&again(|| registry.schema(3))));

    let url = server.url.clone();
    drop(server);
    let error = at("gone", &url).schema(1).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("onnect"), "{error}");
}

#[test]
fn the_next_url_is_tried_when_one_does_not_answer() {
    let (broken, server) = (Server::start(), Server::start());
    broken.answers("/a/schemas/ids/3", 500, "");
    server.answers("/b/schemas/ids/3", 200, r#"{"schema":"\"string\""}"#);
    server.answers("/b/schemas/ids/4", 200, r#"{"schema":"\"string\""}"#);
    let registry = at("several", &format!("{}/a/ , {}/b", broken.url, server.url));
    assert!(is_string(&registry.schema(3)) && is_string(&registry.schema(4)));
    assert_eq!((broken.asked().len(), server.asked().len()), (1, 2), "the one that answered is asked first");
}

#[test]
fn an_id_is_unknown_once_the_registry_has_said_so_a_few_times() {
    let server = Server::start();
    let registry = at("unknown", &server.url);
    for _ in 1..DENIALS {
        let error = registry.schema(9).unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("does not know schema id 9"), "{error}");
    }
    let Ok(Found::Unusable { words, until }) = registry.schema(9) else { panic!("it is believed") };
    assert_eq!(&*words, format!("the registry {}/ has no schema with id 9", server.url));
    assert!(until.is_some());
    let asked = server.asked().len();
    registry.schema(9).unwrap();
    assert_eq!(server.asked().len(), asked, "and not asked again for a while");
}

#[test]
fn who_may_not_ask_is_told_what_to_set() {
    let server = Server::start();
    server.answers("/schemas/ids/1", 401, r#"{"error_code":40101,"message":"who are you?"}"#);
    let error = at("stranger", &server.url).schema(1).unwrap_err();
    assert!(!error.is_transient());
    let text = error.to_string();
    assert!(text.contains("set 'avro-confluent.basic-auth.user-info' = 'user:password'"), "{text}");
    assert!(text.contains("who are you?"), "{text}");

    let url = server.url.replace("http://", "http://me:s%20cret@");
    let of = |more: &[(&str, &str)]| {
        let server = server.asked.lock().unwrap().len();
        let registry = registry("known", more).unwrap();
        let error = registry.schema(1).unwrap_err();
        assert!(!format!("{error} {error:?} {registry:?}").contains("cret"), "{error} {registry:?}");
        (error.to_string(), server)
    };
    let name = |rest: &str| format!("avro-confluent.{rest}");
    let (url_name, source, info) = (name("url"), name("basic-auth.credentials-source"), name("basic-auth.user-info"));
    of(&[(&url_name, &url), (&source, "URL")]);
    of(&[(&url_name, &server.url), (&info, "me:s cret")]);
    let (error, _) = of(&[(&url_name, &server.url), (&name("bearer-auth.token"), "secret")]);
    assert!(error.contains("check 'avro-confluent.bearer-auth.token'"), "{error}");
    let asked: Vec<_> = server.asked.lock().unwrap().iter().filter_map(|(_, who)| who.clone()).collect();
    assert_eq!(asked, ["Basic bWU6cyBjcmV0", "Basic bWU6cyBjcmV0", "Bearer secret"]);
}

#[test]
fn options_that_make_no_sense_are_refused_without_telling_secrets() {
    let error = |more: &[(&str, &str)]| registry("t", more).err().unwrap().to_string();
    assert_eq!(error(&[]), "table \"t\" needs the option 'avro-confluent.url'");
    let text = error(&[("avro-confluent.url", "ftp://me:secret@host")]);
    assert!(text.contains("http:// or https://") && !text.contains("secret"), "{text}");
    let url = ("avro-confluent.url", "http://host");
    assert!(
        error(&[url, ("avro-confluent.basic-auth.credentials-source", "URL")]).contains("https://user:password@host")
    );
    assert!(error(&[url, ("avro-confluent.basic-auth.credentials-source", "USER_INFO")]).contains("user-info"));
    let text = error(&[url, ("avro-confluent.basic-auth.user-info", "secret")]);
    assert!(text.contains("'user:password'") && !text.contains("secret"), "{text}");
    let all = options(&[url, ("avro-confluent.basic-auth.user-info", "me:secret")]);
    assert!(!format!("{all:?}").contains("secret"));
    let all = options(&[("avro-confluent.url", "http://me:secret@host")]);
    assert!(!format!("{all:?}").contains("secret"));
}

#[test]
fn references_come_before_what_refers_to_them() {
    let server = Server::start();
    let refers = |name: &str, subject: &str| format!(r#"[{{"name":"{name}","subject":"{subject}","version":1}}]"#);
    let body =
        |schema: &str, references: &str| format!(r#"{{"schema":{},"references":{references}}}"#, Value::from(schema));
    let record = |name: &str, of: &str| {
        format!(r#"{{"type":"record","name":"{name}","namespace":"n","fields":[{{"name":"x","type":"{of}"}}]}}"#)
    };
    server.answers("/schemas/ids/1", 200, &body(&record("A", "n.B"), &refers("n.B", "b/c d")));
    server.answers("/subjects/b%2Fc%20d/versions/1", 200, &body(&record("B", "C"), &refers("n.C", "c")));
    server.answers("/subjects/c/versions/1", 200, &body(&record("C", "int"), "[]"));
    let registry = at("refers", &server.url);
    let found = registry.schema(1);
    let Ok(Found::Schema(schema)) = &found else { panic!("{found:?}") };
    assert_eq!(schema.name(schema.root), Some("n.A"));
    let (_, fields) = schema.record(schema.root).unwrap();
    assert_eq!(schema.name(fields[0].1), Some("n.B"));

    // A circle ends, and a type that is not there is told.
    server.answers("/schemas/ids/2", 200, &body(&record("A", "n.X"), &refers("n.A", "a")));
    server.answers("/subjects/a/versions/1", 200, &body(&record("A", "int"), &refers("n.A", "a")));
    let Ok(Found::Unusable { words, .. }) = registry.schema(2) else { panic!("it cannot be parsed") };
    assert!(words.contains("names the type n.X"), "{words}");
    server.answers("/schemas/ids/3", 200, r#"{"schemaType":"PROTOBUF","schema":"x"}"#);
    let Ok(Found::Unusable { words, .. }) = registry.schema(3) else { panic!("it is not Avro") };
    assert_eq!(&*words, "the schema with id 3 cannot be used: it is one of PROTOBUF, not of Avro");
}
