//! Clients of the port: connections on which anything can be sent, plain or inside TLS, and what comes back.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use crate::scenarios::SOON;

/// The way to a port.
#[derive(Clone)]
pub(super) struct Port {
    address: String,
    tls: Option<Arc<ClientConfig>>,
}

/// A connection, past the handshake if there is one.
pub(super) enum Client {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Port {
    /// The port at `address`; with `trusted`, the PEM of its certificate, over TLS.
    pub(super) fn new(address: &str, trusted: Option<&[u8]>) -> Self {
        Self { address: address.to_owned(), tls: trusted.map(|pem| client_config(pem, rustls::DEFAULT_VERSIONS)) }
    }

    pub(super) fn connect(&self) -> Client {
        self.try_connect().unwrap()
    }

    /// `Err` when the server ends the connection during the handshake.
    pub(super) fn try_connect(&self) -> io::Result<Client> {
        let stream = TcpStream::connect(&self.address)?;
        let Some(config) = &self.tls else { return Ok(Client::Plain(stream)) };
        stream.set_read_timeout(Some(SOON))?;
        let mut stream = handshaken(stream, Arc::clone(config));
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(Client::Tls(Box::new(stream)))
    }

    /// Sends `bytes`; all that comes back.
    pub(super) fn exchange(&self, bytes: &[u8]) -> String {
        let mut client = self.connect();
        // The server may end the connection before it has taken all.
        let _ = client.write_all(bytes);
        client.rest()
    }

    /// Sends `bytes` and says that nothing more will come; all that comes back.
    pub(super) fn exchange_and_end(&self, bytes: &[u8]) -> String {
        let mut client = self.connect();
        let _ = client.write_all(bytes);
        client.ends();
        client.rest()
    }
}

impl Client {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// Nothing more will come.
    pub(super) fn ends(&mut self) {
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
        let _ = self.socket().shutdown(Shutdown::Write);
    }

    /// Everything that comes back until the server ends the connection, however it does.
    pub(super) fn rest(&mut self) -> String {
        self.socket().set_read_timeout(Some(SOON)).unwrap();
        gather(self)
    }
}

impl Read for Client {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => read_only(stream, buffer),
        }
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Reads what has come, also when nothing can be sent any more: rustls' own stream would try that first.
fn read_only(stream: &mut StreamOwned<ClientConnection, TcpStream>, buffer: &mut [u8]) -> io::Result<usize> {
    let StreamOwned { conn, sock } = stream;
    loop {
        match conn.reader().read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => return read,
        }
        if conn.read_tls(sock)? == 0 {
            return Ok(0);
        }
        conn.process_new_packets().map_err(io::Error::other)?;
    }
}

/// A client that trusts the certificate `pem` and nothing else.
pub(super) fn client_config(pem: &[u8], versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// The start of TLS on `stream`; nothing is sent yet.
pub(super) fn handshaken(stream: TcpStream, config: Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    StreamOwned::new(ClientConnection::new(config, name).unwrap(), stream)
}

/// Everything that comes back on a bare connection until the server ends it, however it does.
pub(super) fn rest(mut stream: &TcpStream) -> String {
    stream.set_read_timeout(Some(SOON)).unwrap();
    gather(&mut stream)
}

/// Sends `bytes` on a bare connection and nothing more; what comes back.
pub(super) fn exchange(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    // The server may end the connection before it has taken all.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    rest(&stream)
}

/// One answer of ours, and the last of its connection.
#[track_caller]
pub(super) fn check(answer: &str, status: u16, kind: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "wanted {status} {kind}: {answer:?}");
    assert_eq!(answer.matches("\r\nConnection: close\r\n").count(), 1, "{answer:?}");
    assert!(answer.contains(&format!("\"kind\":\"{kind}\"")), "wanted {kind}: {answer:?}");
}

fn gather(stream: &mut impl Read) -> String {
    let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the server does not end the connection"),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&received).into_owned()
}
