//! The client of a schema registry with Confluent's API (Confluent, Apicurio's `/apis/ccompat/v7`, Karapace, Redpanda).
//!
//! A schema never changes under its id, so what was fetched once is kept as long as anybody decodes with it, and all lanes of a
//! table share it. Nothing here waits for the registry to come back: the lane does, with its records in hand.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, RequestBuilder};
use reqwest::{StatusCode, Url};
use serde_json::Value;

use crate::avro::schema::Schema;
use crate::error::{Error, Result};
use crate::options::Options;

/// How long an answer may take; a lane that waits does not heed its orders.
const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// After a failure nobody asks again for so long: the lanes of a table would wait for one another.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a registry has to say that it does not know an id before that is believed: replicas lag.
const DENIALS: u32 = 5;
/// How long it is believed.
const DENIED: Duration = Duration::from_secs(60);
/// How deep schemas may refer to others.
const REFERENCE_DEPTH: usize = 16;

/// A registry as one table uses it.
pub(crate) struct Registry {
    settings: Settings,
    state: Mutex<State>,
}

/// What is known of an id.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// Its schema.
    Schema(Arc<Schema>),
    /// Why no record with it can be read; worth asking again after a while, or never.
    Unusable { words: Arc<str>, until: Option<Instant> },
}

#[derive(Clone, PartialEq, Eq)]
struct Settings {
    table: String,
    /// The format, which the options' names start with.
    prefix: String,
    urls: Vec<Url>,
    basic: Option<(String, String)>,
    bearer: Option<String>,
    /// A file of certificates in PEM.
    authority: Option<String>,
}

#[derive(Default)]
struct State {
    client: Option<Client>,
    schemas: HashMap<u32, Found>,
    denials: HashMap<u32, u32>,
    /// The URL that answered last.
    preferred: usize,
    failed: Option<(Instant, String)>,
}

/// Credentials stay out of it.
impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("urls", &self.settings.shown()).finish_non_exhaustive()
    }
}

/// A schema with those that it refers to, as texts, the latter first.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    pub(crate) schema: String,
    pub(crate) references: Vec<String>,
}

/// Why the registry gave no schema.
enum Refused {
    /// It does not have it.
    Missing(String),
    /// It has something else.
    Unusable(String),
    Failed(Error),
}

impl Registry {
    /// The registry that these options name; the same for all that ask with the same options.
    pub(crate) fn shared(options: &Options, prefix: &str) -> Result<Arc<Self>> {
        static ALL: Mutex<Vec<Weak<Registry>>> = Mutex::new(Vec::new());
        let settings = Settings::new(options, prefix)?;
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|it| it.strong_count() > 0);
        if let Some(registry) = all.iter().filter_map(Weak::upgrade).find(|it| it.settings == settings) {
            return Ok(registry);
        }
        let registry = Arc::new(Self { settings, state: Mutex::default() });
        all.push(Arc::downgrade(&registry));
        Ok(registry)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The schema of an id: from memory, or from the registry. Blocks while it is asked.
    pub(crate) fn schema(&self, id: u32) -> Result<Found> {
        let mut state = self.state();
        match state.schemas.get(&id) {
            Some(Found::Unusable { until: Some(until), .. }) if *until < Instant::now() => {}
            Some(found) => return Ok(found.clone()),
            None => {}
        }
        let what = format!("schema id {id} of table \"{}\"", self.settings.table);
        let found = match self.texts(&mut state, &["schemas", "ids", &id.to_string()], &what) {
            Ok(texts) => match Schema::parse(&texts.schema, &texts.references) {
                Ok(schema) => Found::Schema(Arc::new(schema)),
                Err(words) => unusable(&format!("the schema with id {id} cannot be used: {words}"), None),
            },
            Err(Refused::Unusable(words)) => {
                unusable(&format!("the schema with id {id} cannot be used: {words}"), None)
            }
            Err(Refused::Missing(words)) => {
                let denials = state.denials.entry(id).or_default();
                *denials += 1;
                if *denials < DENIALS {
                    let context = format!("the registry {} does not know {what}", self.settings.shown());
                    return Err(Error::transient(context, words));
                }
                let until = Instant::now() + DENIED;
                unusable(&format!("the registry {} has no schema with id {id}", self.settings.shown()), Some(until))
            }
            Err(Refused::Failed(error)) => return Err(error),
        };
        state.schemas.insert(id, found.clone());
        Ok(found)
    }

    /// The newest schema of a subject, or `None` when there is no such subject.
    pub(crate) fn latest(&self, subject: &str) -> Result<Option<Schema>> {
        let what = format!("subject {subject} of table \"{}\"", self.settings.table);
        let texts = self.texts(&mut self.state(), &["subjects", subject, "versions", "latest"], &what);
        let unusable = |words: String| {
            Error::permanent(
                format!("the registry {}, {what}: the schema cannot be used", self.settings.shown()),
                words,
            )
        };
        match texts {
            Ok(texts) => Schema::parse(&texts.schema, &texts.references).map(Some).map_err(unusable),
            Err(Refused::Missing(_)) => Ok(None),
            Err(Refused::Unusable(words)) => Err(unusable(words)),
            Err(Refused::Failed(error)) => Err(error),
        }
    }

    /// A schema with all that it refers to.
    fn texts(&self, state: &mut State, path: &[&str], what: &str) -> Result<Texts, Refused> {
        let mut texts = Texts::default();
        let answer = self.get(state, path, what)?;
        texts.schema = schema_of(&answer)?.to_owned();
        self.references(state, &answer, what, &mut texts.references, &mut BTreeSet::new(), 0)?;
        Ok(texts)
    }

    fn references(
        &self,
        state: &mut State,
        answer: &Value,
        what: &str,
        texts: &mut Vec<String>,
        seen: &mut BTreeSet<(String, u64)>,
        depth: usize,
    ) -> Result<(), Refused> {
        for reference in answer["references"].as_array().into_iter().flatten() {
            let (Some(subject), Some(version)) = (reference["subject"].as_str(), reference["version"].as_u64()) else {
                return Err(Refused::Unusable("a reference without subject and version".into()));
            };
            if depth > REFERENCE_DEPTH {
                return Err(Refused::Unusable("its references are nested too deeply".into()));
            }
            if !seen.insert((subject.to_owned(), version)) {
                continue;
            }
            let path = ["subjects", subject, "versions", &version.to_string()];
            let answer = self.get(state, &path, &format!("{what}, its reference to {subject} version {version}"))?;
            self.references(state, &answer, what, texts, seen, depth + 1)?;
            texts.push(schema_of(&answer)?.to_owned());
        }
        Ok(())
    }

    /// What the first of the URLs answers that answers at all.
    fn get(&self, state: &mut State, path: &[&str], what: &str) -> Result<Value, Refused> {
        let transient = |words: String| {
            let context = format!("cannot get {what} from the schema registry {}", self.settings.shown());
            Refused::Failed(Error::transient(context, words))
        };
        if let Some((at, words)) = &state.failed
            && at.elapsed() < PAUSE
        {
            return Err(transient(words.clone()));
        }
        if state.client.is_none() {
            state.client = Some(self.settings.client().map_err(Refused::Failed)?);
        }
        let mut words = Vec::new();
        let count = self.settings.urls.len();
        for turn in 0..count {
            let place = (state.preferred + turn) % count;
            let Some(client) = &state.client else { break };
            let (url, request) = self.settings.request(client, place, path);
            let answer = request.send().and_then(|answer| Ok((answer.status(), answer.text()?)));
            let (status, body) = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    words.push(format!("{url}: {}", in_words(error)));
                    continue;
                }
            };
            let json: Value = serde_json::from_str(&body).unwrap_or_default();
            let code = json["error_code"].as_u64().unwrap_or(0);
            let said = || format!("{url}: {status}{}", quoted(&json, &body));
            match status {
                StatusCode::OK if json.is_object() => {
                    (state.preferred, state.failed) = (place, None);
                    return Ok(json);
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err(Refused::Failed(self.settings.not_allowed(what, said())));
                }
                StatusCode::NOT_FOUND if (40400..40500).contains(&code) => return Err(Refused::Missing(said())),
                StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => return Err(Refused::Missing(said())),
                StatusCode::NOT_FOUND => {
                    words.push(format!("{} (is the URL right? Apicurio's ends with /apis/ccompat/v7)", said()))
                }
                _ => words.push(said()),
            }
        }
        let words = words.join("; ");
        state.failed = Some((Instant::now(), words.clone()));
        Err(transient(words))
    }
}

fn unusable(words: &str, until: Option<Instant>) -> Found {
    Found::Unusable { words: words.into(), until }
}

fn schema_of(answer: &Value) -> Result<&str, Refused> {
    match answer["schemaType"].as_str() {
        None | Some("AVRO") => {
            answer["schema"].as_str().ok_or_else(|| Refused::Unusable("the registry's answer has no \"schema\"".into()))
        }
        Some(other) => Err(Refused::Unusable(format!("it is one of {other}, not of Avro"))),
    }
}

/// An error with its causes, without the URL, which is told beside it.
fn in_words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn quoted(json: &Value, body: &str) -> String {
    let text = json["message"].as_str().unwrap_or(body).trim();
    if text.is_empty() { String::new() } else { format!(", {}", text.chars().take(200).collect::<String>()) }
}

impl Settings {
    fn new(options: &Options, prefix: &str) -> Result<Self> {
        let name = |rest: &str| format!("{prefix}.{rest}");
        let option = |rest: &str| options.get(&name(rest));
        let bad = |words: &str| Error::config(format!("table \"{}\": {words}", options.table()));
        let mut urls = Vec::new();
        let mut in_url = None;
        for text in options.required(&name("url"))?.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            // The URL may hold a password, so it is not quoted.
            let wrong =
                || bad(&format!("option '{}' has to be http:// or https:// URLs, separated by commas", name("url")));
            let mut url = Url::parse(text).map_err(|_| wrong())?;
            if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
                return Err(wrong());
            }
            if !url.username().is_empty() {
                in_url = Some((decoded(url.username()), decoded(url.password().unwrap_or_default())));
            }
            if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
                return Err(wrong());
            }
            urls.push(url);
        }
        if urls.is_empty() {
            return Err(bad(&format!("option '{}' is empty", name("url"))));
        }
        let user_info = |text: &str| match text.split_once(':') {
            Some((user, password)) => Ok((user.to_owned(), password.to_owned())),
            None => Err(bad(&format!("option '{}' has to be 'user:password'", name("basic-auth.user-info")))),
        };
        let info = option("basic-auth.user-info").map(user_info).transpose()?;
        let source = name("basic-auth.credentials-source");
        let basic = match options.get(&source) {
            None => info.or(in_url),
            Some("USER_INFO") => Some(info.ok_or_else(|| {
                bad(&format!("'{source}' = 'USER_INFO' needs the option '{}'", name("basic-auth.user-info")))
            })?),
            Some("URL") => Some(in_url.ok_or_else(|| {
                bad(&format!(
                    "'{source}' = 'URL' needs user and password in '{}': https://user:password@host",
                    name("url")
                ))
            })?),
            Some(other) => return Err(options.invalid(&source, other, "'USER_INFO' or 'URL'")),
        };
        let bearer = option("bearer-auth.token").map(str::to_owned);
        let authority = option("ssl.ca-location").map(str::to_owned);
        Ok(Self { table: options.table().to_owned(), prefix: prefix.to_owned(), urls, basic, bearer, authority })
    }

    /// The URLs, for messages: without credentials.
    fn shown(&self) -> String {
        self.urls.iter().map(Url::as_str).collect::<Vec<_>>().join(", ")
    }

    fn client(&self) -> Result<Client> {
        let failed = |error: String| Error::config(format!("table \"{}\": {error}", self.table));
        let mut builder = Client::builder().timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT);
        if let Some(path) = &self.authority {
            let name = format!("{}.ssl.ca-location", self.prefix);
            let pem = std::fs::read(path).map_err(|error| failed(format!("option '{name}': {path}: {error}")))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| failed(format!("option '{name}': {path}: {error}")))?;
            builder = certificates.into_iter().fold(builder, reqwest::blocking::ClientBuilder::add_root_certificate);
        }
        builder.build().map_err(|error| failed(format!("no HTTP client: {}", in_words(error))))
    }

    fn request(&self, client: &Client, place: usize, path: &[&str]) -> (String, RequestBuilder) {
        let mut url = self.urls[place].clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let shown = url.to_string();
        let mut request = client.get(url).header("accept", "application/vnd.schemaregistry.v1+json, application/json");
        if let Some(token) = &self.bearer {
            request = request.bearer_auth(token);
        } else if let Some((user, password)) = &self.basic {
            request = request.basic_auth(user, Some(password));
        }
        (shown, request)
    }

    fn not_allowed(&self, what: &str, said: String) -> Error {
        let prefix = &self.prefix;
        let way_out = match (&self.bearer, &self.basic) {
            (Some(_), _) => format!("check '{prefix}.bearer-auth.token'"),
            (None, Some(_)) => format!("check '{prefix}.basic-auth.user-info'"),
            (None, None) => {
                format!("set '{prefix}.basic-auth.user-info' = 'user:password' or '{prefix}.bearer-auth.token'")
            }
        };
        Error::permanent(format!("the schema registry does not give {what} ({way_out})"), said)
    }
}

/// What a URL's user name or password stands for.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let hex = more.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            _ => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
pub(in crate::format) mod tests;
