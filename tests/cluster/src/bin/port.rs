//! Measures what a connection costs the FleetLock port: of one or more builds of the program, and of tiny_http alone, in one run.
//! Usage: `port MANIFEST PROGRAM…`; scripts/port-cost does all set-up.
//!
//! Each request has a connection of its own, as nodes make them, and its path is not one of the protocol, so Kubernetes is not asked. The
//! builds are measured in turn, several times; the table has the median of each.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement reads the clock, and ends at a wrong answer"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use test_cluster::certificate::self_signed;
use test_cluster::cluster::Backend;
use test_cluster::scratch::Scratch;
use test_cluster::server::Start;
use test_cluster::wait::wait_for;
use test_cluster::{Server, TestCluster};

const ROUNDS: usize = 5;
const CLIENTS: usize = 4;
/// Requests of a round: of each client, plain and over TLS.
const PLAIN: usize = 500;
const HANDSHAKES: usize = 200;
/// Connections of an attack that send half a request and stay.
const IDLE: usize = 480;

const SOON: Duration = Duration::from_secs(30);
const REQUEST: &[u8] = b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Cost of the requests of one round.
#[derive(Clone, Copy)]
struct Cost {
    a_second: f64,
    cpu_us: f64,
}

/// A build of the program, without and with TLS.
struct Build {
    name: String,
    plain: Server,
    secured: Server,
    tls: Arc<ClientConfig>,
    _files: Scratch,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag] = arguments.as_slice()
        && flag == "--tiny-http"
    {
        return tiny_http_alone();
    }
    let [manifest, programs @ ..] = arguments.as_slice() else { panic!("usage: port MANIFEST PROGRAM…") };
    let cluster = TestCluster::on(Backend::Simulated, &std::fs::read_to_string(manifest).expect("the manifest"));
    let builds: Vec<Build> = programs.iter().map(|program| Build::start(&cluster, Path::new(program))).collect();
    let (mut alone, address) = start_tiny_http();
    let rests = builds.iter().map(|build| build.secured.memory_kib("VmRSS")).collect::<Vec<_>>();

    let mut plain = vec![Vec::new(); builds.len() + 1];
    let mut secured = vec![Vec::new(); builds.len()];
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        for (build, (plain, secured)) in builds.iter().zip(plain.iter_mut().zip(&mut secured)) {
            plain.push(measure(PLAIN, build.plain.pid(), || request(&build.plain.address)));
            secured.push(measure(HANDSHAKES, build.secured.pid(), || handshake(&build.secured.address, &build.tls)));
        }
        plain[builds.len()].push(measure(PLAIN, alone.id(), || request(&address)));
    }
    alone.kill().unwrap();

    println!(
        "| server | file, bytes | requests a second | CPU each, µs | over TLS a second | CPU each, µs | at rest, KiB | with {IDLE} half requests over TLS, KiB |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for (number, build) in builds.iter().enumerate() {
        let (plain, secured) = (median(&plain[number]), median(&secured[number]));
        let bytes = std::fs::metadata(&programs[number]).unwrap().len();
        let attacked = attacked(build);
        println!(
            "| {} | {bytes} | {:.0} | {:.0} | {:.0} | {:.0} | {} | {attacked} |",
            build.name, plain.a_second, plain.cpu_us, secured.a_second, secured.cpu_us, rests[number]
        );
    }
    let plain = median(&plain[builds.len()]);
    println!("| tiny_http alone, in this program | | {:.0} | {:.0} | | | | |", plain.a_second, plain.cpu_us);
}

impl Build {
    fn start(cluster: &TestCluster, program: &Path) -> Self {
        // A folder for each: a program loads its files again when they change.
        let scratch = Scratch::new();
        let made = self_signed();
        let start = |start: Start| start.env("RUST_LOG", "info").start();
        let [certificate, key] = [("tls.crt", &made.pem), ("tls.key", &made.key_pem)].map(|(name, text)| scratch.file(name, text));
        let plain = start(cluster.server(program));
        let tls = cluster.server(program).arg("--tls=files").arg("--tls-cert").arg(&certificate.to_string_lossy());
        let secured = start(tls.arg("--tls-key").arg(&key.to_string_lossy()));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(made.pem.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
        let tls = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        Self { name: program.display().to_string(), plain, secured, tls, _files: scratch }
    }
}

fn median(costs: &[Cost]) -> Cost {
    let of = |part: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(part).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Cost { a_second: of(|cost| cost.a_second), cpu_us: of(|cost| cost.cpu_us) }
}

/// Runs `call` as often as `each` says in each of some threads.
fn measure(each: usize, pid: u32, call: impl Fn() + Sync) -> Cost {
    let (begun, before) = (Instant::now(), cpu(pid));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| (0..each).for_each(|_| call()));
        }
    });
    let (time, used, all) = (begun.elapsed(), cpu(pid) - before, (each * CLIENTS) as f64);
    Cost { a_second: all / time.as_secs_f64(), cpu_us: used.as_secs_f64() * 1e6 / all }
}

/// Opens a connection that sends at once: otherwise a request waits for the acknowledgement of the handshake's last message, 40 ms.
fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn request(address: &str) {
    let mut stream = connect(address);
    stream.write_all(REQUEST).unwrap();
    answered(&mut stream);
}

fn handshake(address: &str, config: &Arc<ClientConfig>) {
    let client = ClientConnection::new(Arc::clone(config), ServerName::try_from("127.0.0.1").unwrap()).unwrap();
    let mut stream = StreamOwned::new(client, connect(address));
    stream.write_all(REQUEST).unwrap();
    answered(&mut stream);
}

fn answered(stream: &mut impl Read) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

/// Returns the memory with many half requests over TLS, in KiB.
fn attacked(build: &Build) -> u64 {
    let open = || {
        let client = ClientConnection::new(Arc::clone(&build.tls), ServerName::try_from("127.0.0.1").unwrap()).unwrap();
        let mut stream = StreamOwned::new(client, TcpStream::connect(&build.secured.address).unwrap());
        stream.write_all(&REQUEST[..20]).unwrap();
        stream
    };
    let _open: Vec<_> = (0..IDLE).map(|_| open()).collect();
    wait_for("each connection has its thread", SOON, || match build.secured.threads() {
        threads if threads >= IDLE => Ok(()),
        threads => Err(threads),
    });
    build.secured.memory_kib("VmRSS")
}

/// Returns the processor time of a process so far, in steps of 10 ms.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    Duration::from_millis(fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap() * 10).sum())
}

fn start_tiny_http() -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap()).arg("--tiny-http").stdout(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut address).unwrap();
    (child, address.trim().to_owned())
}

/// Serves 404 with as many workers as the program has.
fn tiny_http_alone() {
    let server = Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
    println!("{}", server.server_addr().to_ip().map_or_else(String::new, |address: SocketAddr| address.to_string()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Ok(request) = server.recv() {
                    let _ = request.respond(tiny_http::Response::from_string("{}").with_status_code(404));
                }
            });
        }
    });
}
