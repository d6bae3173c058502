//! Greets whoever connects to a port that only root may bind, without being root by then.
//!
//! `example-daemon PORT UID LOG` binds, opens its log, becomes the user UID, and answers every
//! connection with `$GREETING`. It ends when it can't go on; a signal ends it at any time.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::net::TcpListener;

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |name: &str| arguments.next().ok_or_else(|| format!("no {name} given"));
    let port: u16 = argument("PORT")?.parse()?;
    let id: u32 = argument("UID")?.parse()?;
    let path = argument("LOG")?;
    let greeting = std::env::var("GREETING").unwrap_or_else(|_| "hello".to_owned());

    let listener = TcpListener::bind(("127.0.0.1", port))
        .map_err(|error| format!("bind port {port}: {error}"))?;
    let mut log = File::create(&path).map_err(|error| format!("create {path}: {error}"))?;
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;

    writeln!(log, "serving port {port} as user {id}")?;
    for connection in listener.incoming() {
        let mut connection = connection?;
        // A client that is gone already is its own problem.
        let _ = writeln!(connection, "{greeting}");
        writeln!(log, "greeted {}", connection.peer_addr()?.ip())?;
    }
    Ok(())
}
