//! Hosts that talk over TCP: one runtime, several network namespaces, and a kernel per test.

use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use example_network::Host;
use nix::sys::socket::{getsockopt, sockopt};
use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use uml_test::uml_test;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const RED: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
const BLUE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);

/// Serves one port on a host: what a client sent comes back once the client is done sending.
async fn serve(host: &Host, ip: Ipv4Addr, port: u16) -> Result<SocketAddr> {
    let socket = host.enter(TcpSocket::new_v4)?;
    socket.bind((ip, port).into())?;
    let listener = socket.listen(8)?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut received = Vec::new();
            stream.read_to_end(&mut received).await?;
            stream.write_all(&received).await?;
        }
        std::io::Result::Ok(())
    });
    Ok(address)
}

async fn dial(host: &Host, address: SocketAddr) -> std::io::Result<TcpStream> {
    host.enter(TcpSocket::new_v4)?.connect(address).await
}

/// Sends bytes and takes what comes back.
async fn echo(mut stream: TcpStream, sent: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(sent).await?;
    stream.shutdown().await?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await?;
    Ok(received)
}

#[uml_test]
#[rstest]
#[case::ethernet(1500)]
#[case::jumbo(9000)]
#[tokio::test]
async fn tcp_crosses_a_bridge(#[case] mtu: u32) -> Result {
    let (red, switch, blue) = (Host::new().await?, Host::new().await?, Host::new().await?);
    switch.connect("red", &red, "eth0").await?;
    switch.connect("blue", &blue, "eth0").await?;
    switch.bridge("br0", &["red", "blue"]).await?;
    for (host, port, ip) in [(&red, "red", RED), (&blue, "blue", BLUE)] {
        switch.set_mtu(port, mtu).await?;
        host.set_mtu("eth0", mtu).await?;
        host.add_address("eth0", ip, 24).await?;
    }

    let address = serve(&blue, BLUE, 80).await?;
    let stream = dial(&red, address).await?;
    assert_eq!(stream.local_addr()?.ip(), RED);
    // Two headers of 20 bytes, and 12 for the timestamp option.
    assert_eq!(getsockopt(&stream, sockopt::TcpMaxSeg)?, mtu - 52);
    let sent: Vec<u8> = (0..1 << 20).map(|n| (n % 251) as u8).collect();
    assert!(echo(stream, &sent).await? == sent);
    Ok(())
}

#[uml_test]
#[tokio::test]
async fn a_host_without_a_cable_is_an_island() -> Result {
    let (red, blue) = (Host::new().await?, Host::new().await?);
    let address = serve(&blue, Ipv4Addr::LOCALHOST, 80).await?;
    assert_eq!(echo(dial(&blue, address).await?, b"to myself").await?, b"to myself");

    assert_eq!(dial(&red, address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let blue_is_where = dial(&red, (BLUE, 80).into()).await.unwrap_err();
    assert_eq!(blue_is_where.kind(), ErrorKind::NetworkUnreachable);
    Ok(())
}

#[uml_test]
#[tokio::test]
async fn a_router_forwards_once_it_is_told_to() -> Result {
    const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 254);
    const THERE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 254);
    let (red, router, far) = (Host::new().await?, Host::new().await?, Host::new().await?);
    for (host, ip, port, gateway) in [(&red, RED, "near", HERE), (&far, FAR, "far", THERE)] {
        router.connect(port, host, "eth0").await?;
        router.add_address(port, gateway, 24).await?;
        host.add_address("eth0", ip, 24).await?;
        host.set_gateway(gateway).await?;
    }
    let address = serve(&far, FAR, 80).await?;

    let unanswered = tokio::time::timeout(Duration::from_millis(200), dial(&red, address)).await;
    assert!(unanswered.is_err(), "{unanswered:?}");
    router.enter(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1"))?;
    assert_eq!(echo(dial(&red, address).await?, b"far away").await?, b"far away");
    Ok(())
}

#[uml_test(config = ["CONFIG_NF_TABLES_IPV4"])]
#[tokio::test]
async fn nftables_closes_a_port() -> Result {
    const RULES: &str = "table ip filter {
        chain input {
            type filter hook input priority 0;
            tcp dport 81 counter reject with tcp reset
        }
    }";
    let (red, blue) = (Host::new().await?, Host::new().await?);
    red.connect("eth0", &blue, "eth0").await?;
    red.add_address("eth0", RED, 24).await?;
    blue.add_address("eth0", BLUE, 24).await?;
    let (open, closed) = (serve(&blue, BLUE, 80).await?, serve(&blue, BLUE, 81).await?);
    assert_eq!(echo(dial(&red, closed).await?, b"not yet").await?, b"not yet");

    let nft = |arguments: &[&str]| {
        let mut nft = Command::new("nft");
        nft.args(arguments).stderr(Stdio::inherit());
        blue.enter(|| nft.output())
    };
    match nft(&[RULES]) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            uml_test::skip!("nft is not installed (Debian: nftables)")
        }
        loaded => assert!(loaded?.status.success()),
    }
    assert_eq!(dial(&red, closed).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(echo(dial(&red, open).await?, b"still open").await?, b"still open");
    let listing = String::from_utf8(nft(&["list", "ruleset"])?.stdout)?;
    assert!(listing.contains("tcp dport 81 counter packets 1 "), "{listing}");
    Ok(())
}
