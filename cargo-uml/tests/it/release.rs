//! kernel.org releases, from a server in this process.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use crate::fixture::{Fixture, run, sha256};

/// Serves the files of a directory until the process ends.
fn serve(directory: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}/pub", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            reader.read_line(&mut request).unwrap();
            let mut header = String::new();
            while reader.read_line(&mut header).unwrap_or(0) > 2 {
                header.clear();
            }
            let path = request.split(' ').nth(1).unwrap_or_default();
            let answer = match fs::read(directory.join(path.trim_start_matches('/'))) {
                Ok(body) => {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    [head.into_bytes(), body].concat()
                }
                Err(_) => {
                    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                        .to_vec()
                }
            };
            let _ = stream.write_all(&answer);
        }
    });
    base
}

struct Server {
    fixture: Fixture,
    base: String,
    tarball: PathBuf,
}

impl Server {
    /// Has Linux 7.2.99, and nothing else.
    fn new() -> Self {
        let fixture = Fixture::new();
        let directory = fixture.path().join("server/pub/v7.x");
        fs::create_dir_all(&directory).unwrap();
        let tarball = directory.join("linux-7.2.99.tar.xz");
        fs::rename(fixture.tarball(), &tarball).unwrap();
        let base = serve(fixture.path().join("server"));
        Server { fixture, base, tarball }
    }

    fn build(&self, arguments: &[&str]) -> Command {
        let mut command = self.fixture.uml(&[&["kernel", "build"], arguments].concat());
        command.env("CARGO_UML_KERNEL_ORG", &self.base);
        for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command
    }
}

#[test]
fn builds_a_release_with_the_given_checksum() {
    let server = Server::new();
    let hash = sha256(&server.tarball);
    let first = run(&mut server.build(&["7.2.99", "--sha256", &hash]));
    let linux = first.kernel();
    assert!(first.stderr.contains("/pub/v7.x/linux-7.2.99.tar.xz"), "{}", first.stderr);
    let metadata = fs::read_to_string(linux.with_file_name("kernel.toml")).unwrap();
    assert!(metadata.contains("provenance = \"release\""), "{metadata}");
    assert!(
        metadata.contains(&format!("source = \"linux-7.2.99.tar.xz sha256:{hash}\"")),
        "{metadata}"
    );

    // What was fetched serves again.
    fs::remove_file(&server.tarball).unwrap();
    fs::remove_dir_all(server.fixture.cache().join("kernels")).unwrap();
    assert_eq!(run(&mut server.build(&["7.2.99", "--sha256", &hash])).kernel(), linux);
}

#[test]
fn a_wrong_checksum_is_an_error_and_nothing_is_kept() {
    let server = Server::new();
    let wrong = "0".repeat(64);
    let found = sha256(&server.tarball);
    run(&mut server.build(&["7.2.99", "--sha256", &wrong]))
        .fails(4, &["linux-7.2.99.tar.xz", "wrong checksum", &wrong, &found]);
    assert_eq!(fs::read_dir(server.fixture.cache().join("sources")).unwrap().count(), 0);
    assert_eq!(server.fixture.kernels(), [] as [PathBuf; 0]);
}

#[test]
fn a_release_that_is_not_there_is_an_error_with_its_address() {
    let server = Server::new();
    let hash = "0".repeat(64);
    run(&mut server.build(&["7.2.98", "--sha256", &hash]))
        .fails(4, &["could not download", "/pub/v7.x/linux-7.2.98.tar.xz", "404"]);
    run(&mut server.build(&["7.2", "--sha256", &hash])).fails(2, &["goes with an exact version"]);
    run(&mut server.build(&["7.2.98", "--sha256", "12"])).fails(2, &["64 hexadecimal digits"]);
}

#[test]
fn a_pinned_release_is_taken_where_the_mirror_lacks_the_version() {
    let server = Server::new();
    // The server has something else under the name, which the pinned checksum finds out. No apt: no mirror.
    fs::create_dir_all(server.tarball.with_file_name("../v6.x")).unwrap();
    fs::copy(&server.tarball, server.tarball.with_file_name("../v6.x/linux-6.6.119.tar.xz"))
        .unwrap();
    let bin = server.fixture.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for name in
        ["gcc", "make", "flex", "bison", "bc", "ld", "objcopy", "tar", "xz", "curl", "as", "sh"]
    {
        std::os::unix::fs::symlink(format!("/usr/bin/{name}"), bin.join(name)).unwrap();
    }
    run(server.build(&["6.6"]).env("PATH", bin)).fails(
        4,
        &["/pub/v6.x/linux-6.6.119.tar.xz", "wrong checksum", "3da09b980bb404cc28793479bb2d6c63"],
    );
}
