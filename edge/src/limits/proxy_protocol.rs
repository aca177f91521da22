//! The PROXY protocol, version 2 (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>, section 2.2): a few
//! bytes that a proxy of TCP connections sends before those of its client, over TLS in front of the handshake. Version 1
//! is refused: it is text, without a length, and every proxy that speaks it speaks the other too.

use std::io::{self, Error, ErrorKind};
use std::net::SocketAddr;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, the command, the family, and the length of the rest.
const FIXED_BYTES: usize = 16;

/// Addresses have at most 216 bytes; the rest is what proxies add, of which we read nothing.
const LONGEST_REST: usize = 4096;

const ONLY_VERSION_2: ParseConfig = ParseConfig {
    include_tlvs: false,
    allow_v1: false,
    allow_v2: true,
};

/// Reads the header and nothing behind it. Gives the client; nothing if the proxy speaks for itself, as in a health
/// check, or says no IP address. How long it may take is up to the caller.
///
/// # Errors
/// What the system says; `InvalidData` for what is no header of version 2.
pub(crate) async fn read(tcp: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut header = vec![0; SIGNATURE.len()];
    tcp.read_exact(&mut header).await?;
    if header.starts_with(b"PROXY ") {
        return Err(invalid(
            "the proxy speaks version 1 of the PROXY protocol: set it to version 2",
        ));
    }
    if header != SIGNATURE {
        return Err(invalid("the connection does not begin with a PROXY header"));
    }
    header.resize(FIXED_BYTES, 0);
    tcp.read_exact(&mut header[SIGNATURE.len()..]).await?;
    let rest = usize::from(u16::from_be_bytes([
        header[FIXED_BYTES - 2],
        header[FIXED_BYTES - 1],
    ]));
    if rest > LONGEST_REST {
        return Err(invalid("the PROXY header is too long"));
    }
    header.resize(FIXED_BYTES + rest, 0);
    tcp.read_exact(&mut header[FIXED_BYTES..]).await?;
    let (parsed, _) =
        ProxyHeader::parse(&header, ONLY_VERSION_2).map_err(|_| invalid("the PROXY header is malformed"))?;
    Ok(parsed.proxied_address().map(|address| {
        let source = address.source;
        SocketAddr::new(source.ip().to_canonical(), source.port())
    }))
}

fn invalid(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}
