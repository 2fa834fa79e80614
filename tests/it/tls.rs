//! Kafka over TLS with SCRAM, ClickHouse over HTTPS with a user, both with certificates of an authority of one's own; and what is said
//! when one of them is not trusted, or does not know the password.
//!
//! The tests' ClickHouse has no HTTPS listener: what ends TLS is before it, as a load balancer would be.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use data_gen::events::EventsConfig;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::crash::Job;
use crate::million::{check, query_at};
use crate::oracle::Oracle;
use crate::run::{Said, binary};
use crate::stack::{Database, OwnStack, clickhouse_url};
use crate::topic::Topic;

const PASSWORD: &str = "pl4nted-9";

/// A folder with an authority, `ca.pem`, and `server.pem`, a key and a certificate of it for 127.0.0.1.
struct Authority(tempfile::TempDir);

impl Authority {
    fn new() -> Self {
        let own = Self(tempfile::tempdir().unwrap());
        std::fs::write(own.file("for"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        own.openssl(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -days 30 -subj /CN=ours -addext basicConstraints=critical,CA:TRUE"
        ));
        own.openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN=server"));
        own.openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.crt -days 30 -extfile for",
        );
        let read = |name: &str| std::fs::read_to_string(own.file(name)).unwrap();
        std::fs::write(own.file("server.pem"), format!("{}{}", read("server.key"), read("server.crt"))).unwrap();
        std::fs::write(own.file("users"), format!("alice {PASSWORD}\n")).unwrap();
        own
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn ca(&self) -> String {
        self.file("ca.pem").display().to_string()
    }

    fn openssl(&self, words: &str) {
        let ran = Command::new("openssl").args(words.split(' ')).current_dir(self.0.path()).output().unwrap();
        assert!(ran.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&ran.stderr));
    }
}

/// Ends TLS before a service, for as long as the runtime is there. Returns its port.
fn terminator(runtime: &tokio::runtime::Runtime, authority: &Authority, target: &str) -> u16 {
    let pem = authority.file("server.pem");
    let certificates = CertificateDer::pem_file_iter(&pem).unwrap().map(Result::unwrap).collect();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, PrivateKeyDer::from_pem_file(&pem).unwrap())
        .unwrap();
    let (acceptor, target) = (TlsAcceptor::from(Arc::new(config)), target.to_owned());
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime.spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, target) = (acceptor.clone(), target.clone());
            tokio::spawn(async move {
                let mut client = acceptor.accept(client).await.ok()?;
                let mut server = TcpStream::connect(target).await.ok()?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok()
            });
        }
    });
    port
}

/// Options beside the address of the brokers, in its quotes.
fn brokers(address: &str, password: &str, ca: &str) -> String {
    format!(
        "{address}', 'properties.security.protocol' = 'SASL_SSL', 'properties.sasl.mechanism' = 'SCRAM-SHA-512',
         'properties.sasl.username' = 'alice', 'properties.sasl.password' = '{password}', 'properties.ssl.ca.location' = '{ca}"
    )
}

/// Options beside ClickHouse's URL, in its quotes.
fn clickhouse(port: u16, password: &str, ca: &str) -> String {
    format!(
        "https://127.0.0.1:{port}', 'username' = 'planted', 'password' = '{password}'{ca}, 'sink.compression' = 'lz4"
    )
}

fn ssl_ca(file: &str) -> String {
    format!(", 'ssl.ca-location' = '{file}'")
}

/// Runs a query that cannot work, in a folder of its own.
fn run(folder: &Path, query: &str, variables: &[(&str, &str)]) -> Said {
    std::fs::write(folder.join("q.sql"), query).unwrap();
    let file = |name: &str| File::create(folder.join(name)).unwrap();
    let arguments = ["run", "q.sql", "--bounded"];
    let mut child = binary(arguments)
        .current_dir(folder)
        .envs(variables.iter().copied())
        .stdout(file("out"))
        .stderr(file("err"))
        .spawn()
        .unwrap();
    let begun = std::time::Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        if begun.elapsed() > std::time::Duration::from_secs(60) {
            child.kill().unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    Said { code, out: text("out"), err: text("err") }
}

#[test]
fn everything_over_tls() {
    let (authority, other) = (Authority::new(), Authority::new());
    let stack = OwnStack::with(4, &["kafka"], vec![("KAFKA_TLS", authority.0.path().display().to_string())]);
    let plain = stack.address("KAFKA_BROKERS");
    let port: u16 = plain.rsplit(':').next().unwrap().parse().unwrap();
    let secured = format!("127.0.0.1:{}", port + 2);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let https = terminator(&runtime, &authority, clickhouse_url().trim_start_matches("http://"));
    let topic = Topic::at(&plain, "tls", 4);
    topic.generate(EventsConfig { total: 20_000, ..EventsConfig::default() }, None);

    let database = Database::new("tls");
    let name = database.0.clone();
    let (right_brokers, ca) = (brokers(&secured, PASSWORD, &authority.ca()), ssl_ca(&authority.ca()));
    let right = clickhouse(https, "pl4nted-3", &ca);
    let job = Job::of(database, &query_at(&topic.name, &name, &right_brokers, &right));
    let before = job.newest();
    let mut running = job.start(&[]);
    job.wait_for_progress(&mut running, before);
    running.kill();
    job.end();
    check(&job.database, &Oracle::at(&plain, &topic.name, 3_000));

    // What is wrong is named, with the way out, and no password is told. Kafka is given its time to answer: all at once.
    let fails = |brokers: &str, clickhouse: &str, words: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let said = run(folder.path(), &query_at(&topic.name, &name, brokers, clickhouse), &[]);
        println!("{:?} {}", said.code, said.err);
        assert!(matches!(said.code, Some(2 | 3)), "{said:?}");
        for word in words {
            assert!(said.err.contains(word), "\"{word}\" is not in {}", said.err);
        }
        assert!(!said.err.contains("pl4nted") && !said.out.contains("pl4nted"), "{said:?}");
    };
    let place = format!("https://127.0.0.1:{https}");
    let (not_trusted, not_known) =
        (brokers(&secured, PASSWORD, &other.ca()), brokers(&secured, "pl4nted-not", &authority.ca()));
    let (password, none) = ("pl4nted-3", clickhouse(https, "pl4nted-3", ""));
    let of_other = clickhouse(https, password, &ssl_ca(&other.ca()));
    let wrong_password = clickhouse(https, "pl4nted-not", &ca);
    let nowhere = clickhouse(https, password, &ssl_ca("/nowhere.pem"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            fails(&not_trusted, &right, &[&secured, "certificate verify failed", "'properties.ssl.ca.location'"])
        });
        scope.spawn(|| fails(&not_known, &right, &[&secured, "'properties.sasl.password'"]));
        scope.spawn(|| fails(&secured, &right, &[&secured, "'properties.security.protocol'"]));
        scope.spawn(|| fails(&right_brokers, &of_other, &[&place, "invalid peer certificate", "'ssl.ca-location'"]));
        scope.spawn(|| fails(&right_brokers, &none, &[&place, "UnknownIssuer", "SSL_CERT_FILE"]));
        scope.spawn(|| fails(&right_brokers, &wrong_password, &[&place, "Authentication failed", "'password'"]));
        scope.spawn(|| fails(&right_brokers, &nowhere, &["'ssl.ca-location'", "/nowhere.pem", "cannot be read"]));
    });

    // By the variable that other programs know, too.
    let folder = tempfile::tempdir().unwrap();
    let said =
        run(folder.path(), &query_at(&topic.name, &name, &right_brokers, &none), &[("SSL_CERT_FILE", &authority.ca())]);
    assert_eq!(said.code, Some(0), "{said:?}");
}
