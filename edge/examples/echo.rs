//! An echo server of the edge's own parts, for `tests/conformance/run`. Prints the address on which it listens.

use std::io::{self, Write as _};
use std::net::TcpListener;

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    match tailwater_edge::echo::run(listener)? {}
}
