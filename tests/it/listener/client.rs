//! Clients of the port: connections on which any bytes can be sent, plain or inside TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use crate::scenarios::SOON;

/// Address of a port, and TLS if the port has it.
#[derive(Clone)]
pub(super) struct Port {
    address: String,
    /// Address of the clients; `None`: any.
    from: Option<Ipv4Addr>,
    tls: Option<Arc<ClientConfig>>,
}

/// A connection.
pub(super) struct Client {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Port {
    pub(super) fn new(address: &str, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { address: address.to_owned(), from: None, tls }
    }

    /// Returns the port for clients of this address.
    pub(super) fn from(&self, address: Ipv4Addr) -> Self {
        Self { from: Some(address), ..self.clone() }
    }

    /// Connects without a TLS handshake.
    pub(super) fn connect_bare(&self) -> Client {
        self.try_connect_bare().unwrap()
    }

    /// Connects without a TLS handshake.
    pub(super) fn try_connect_bare(&self) -> io::Result<Client> {
        let socket = match self.from {
            None => TcpStream::connect(&self.address)?,
            Some(from) => {
                let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
                bind(&socket, &SocketAddrV4::new(from, 0))?;
                connect(&socket, &self.address.parse::<SocketAddrV4>().map_err(io::Error::other)?)?;
                TcpStream::from(socket)
            }
        };
        Ok(Client { socket, tls: None })
    }

    pub(super) fn connect(&self) -> Client {
        self.try_connect().unwrap()
    }

    /// Connects; `Err` if the server ends the connection during the handshake.
    pub(super) fn try_connect(&self) -> io::Result<Client> {
        let mut client = Client { tls: self.session(), ..self.try_connect_bare()? };
        if let Some(session) = &mut client.tls {
            client.socket.set_read_timeout(Some(SOON))?;
            session.complete_io(&mut client.socket)?;
        }
        Ok(client)
    }

    /// Sends `bytes` and returns the answer.
    pub(super) fn exchange(&self, bytes: &[u8]) -> String {
        self.connect().exchange(bytes)
    }

    /// Sends `bytes` and returns the answer; nothing, if no connection is possible.
    pub(super) fn try_exchange(&self, bytes: &[u8]) -> String {
        self.try_connect().map_or_else(|_| String::new(), |mut client| client.exchange(bytes))
    }

    /// Sends `bytes` and returns the connection.
    pub(super) fn send(&self, bytes: &[u8]) -> Client {
        let mut client = self.connect();
        client.write_all(bytes).unwrap();
        client
    }

    /// Sends `bytes`, closes the sending side and returns the answer.
    pub(super) fn exchange_and_end(&self, bytes: &[u8]) -> String {
        let mut client = self.connect();
        let _ = client.write_all(bytes);
        client.end();
        client.rest()
    }

    /// Returns the first message of a TLS handshake.
    pub(super) fn client_hello(&self) -> Vec<u8> {
        let mut hello = Vec::new();
        self.session().unwrap().write_tls(&mut hello).unwrap();
        hello
    }

    fn session(&self) -> Option<Box<ClientConnection>> {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        self.tls.clone().map(|config| Box::new(ClientConnection::new(config, name).unwrap()))
    }
}

impl Client {
    pub(super) fn address(&self) -> String {
        self.socket.local_addr().unwrap().to_string()
    }

    /// Sends `bytes` and returns the answer.
    pub(super) fn exchange(&mut self, bytes: &[u8]) -> String {
        // The server may end the connection before it has read all.
        let _ = self.write_all(bytes);
        self.rest()
    }

    /// Lets each read fail after this time.
    pub(super) fn give_up_after(&self, time: Duration) {
        self.socket.set_read_timeout(Some(time)).unwrap();
    }

    /// Reports whether no byte of an answer has come after this time.
    pub(super) fn is_held(&mut self, time: Duration) -> bool {
        self.give_up_after(time);
        let is_late = |error: io::Error| error.kind() == ErrorKind::WouldBlock;
        let Some(session) = &mut self.tls else { return self.socket.peek(&mut [0]).is_err_and(is_late) };
        loop {
            // TLS 1.3 sends tickets before any answer.
            match session.process_new_packets() {
                Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {}
                _ => return false,
            }
            match session.read_tls(&mut self.socket) {
                Ok(count) if count > 0 => {}
                end => return end.is_err_and(is_late),
            }
        }
    }

    /// Sends `bytes` outside TLS.
    pub(super) fn write_bare(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Closes the sending side.
    pub(super) fn end(&mut self) {
        if let Some(session) = &mut self.tls {
            session.send_close_notify();
            let _ = session.write_tls(&mut self.socket);
        }
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Reads until the server ends the connection, in any way.
    pub(super) fn rest(&mut self) -> String {
        self.socket.set_read_timeout(Some(SOON)).unwrap();
        let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match self.read(&mut buffer) {
                Ok(count) if count > 0 => received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the server does not end the connection"),
                _ => return String::from_utf8_lossy(&received).into_owned(),
            }
        }
    }
}

impl Read for Client {
    /// Reads; inside TLS an end without close_notify is an error.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.tls else { return self.socket.read(buffer) };
        // Not `rustls::Stream`, which fails to read once it cannot write.
        loop {
            match session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            session.read_tls(&mut self.socket)?;
            session.process_new_packets().map_err(io::Error::other)?;
        }
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.write(bytes),
            Some(session) => rustls::Stream::new(&mut **session, &mut self.socket).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the configuration of a client that trusts only the certificate `pem`.
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

/// Checks that `answer` is one answer of the server, and the last of its connection.
#[track_caller]
pub(super) fn check(answer: &str, status: u16, kind: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "wanted {status} {kind}: {answer:?}");
    assert_eq!(answer.matches("\r\nConnection: close\r\n").count(), 1, "{answer:?}");
    assert!(answer.contains(&format!("\"kind\":\"{kind}\"")), "wanted {kind}: {answer:?}");
}
