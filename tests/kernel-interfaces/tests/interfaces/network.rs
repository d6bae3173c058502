//! Network devices, traffic control, packet filters, namespaces.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, VsockAddr, accept, bind, connect,
    getsockname, listen, socket,
};
use uml_test::uml_test;

use crate::netlink::{NLM_F_CREATE, NLM_F_DUMP, Netlink, attribute, index_of, message};
use crate::sys::{Fields, call, ioctl, u32_at};

#[uml_test(config = ["CONFIG_DUMMY", "CONFIG_NET_NS"])]
fn a_device_is_its_namespaces_own() -> io::Result<()> {
    let route = Netlink::route()?;
    route.add_link("dummy", "outside")?;
    let inside = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Netlink::route()?.add_link("dummy", "inside")?;
        fs::read_to_string("/proc/thread-self/net/dev")
    });
    let inside = inside.join().unwrap()?;
    let outside = fs::read_to_string("/proc/net/dev")?;
    assert!(inside.contains("inside:") && !inside.contains("outside:"), "{inside}");
    assert!(outside.contains("outside:") && !outside.contains("inside:"), "{outside}");
    Ok(())
}

#[uml_test(config = ["CONFIG_NET_SCH_NETEM"])]
fn netem_sends_a_packet_twice() -> io::Result<()> {
    // `struct tc_netem_qopt`: latency, limit, loss, gap, duplicate, jitter.
    let options = Fields::new().u32(0).u32(100).u32(0).u32(0).u32(u32::MAX).u32(0);
    add_qdisc(index_of("lo")?, "netem", options)?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.send_to(b"once", socket.local_addr()?)?;
    for _ in 0..2 {
        let mut received = [0; 8];
        assert_eq!(socket.recv(&mut received)?, 4);
    }
    Ok(())
}

#[uml_test(config = ["CONFIG_NET_SCH_HTB"])]
fn htb_counts_what_a_class_sends() -> io::Result<()> {
    const RTM_NEWTCLASS: u16 = 40;
    const RTM_GETTCLASS: u16 = 42;
    const TCA_STATS: u16 = 3;
    let lo = index_of("lo")?;
    // `struct tc_htb_glob`: version, rate2quantum, defcls, debug, direct_pkts.
    let global = Fields::new().u32(3).u32(10).u32(0x10).u32(0).u32(0);
    add_qdisc(lo, "htb", Fields::new().attribute(2, &global.0))?;
    // `struct tc_htb_opt`: twice a rate, with the link layer in its second byte; buffers, quantum, level, prio.
    let rate = Fields::new().u16(1 << 8).zeros(6).u32(1 << 20).0;
    let class = Fields::new().bytes(&rate).bytes(&rate).u32(1 << 20).u32(1 << 20).zeros(12);
    let class = traffic(lo, 0x1_0010, ROOT, "htb", Fields::new().attribute(1, &class.0));
    let route = Netlink::route()?;
    route.request(RTM_NEWTCLASS, NLM_F_CREATE, class)?;

    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.send_to(b"shaped", socket.local_addr()?)?;
    socket.recv(&mut [0; 8])?;
    let classes = route.request(RTM_GETTCLASS, NLM_F_DUMP, traffic_header(lo, 0, 0))?;
    // `struct tc_stats`: bytes, packets.
    let counted = attribute(&classes[TRAFFIC_HEADER..], TCA_STATS);
    assert_eq!(u32_at(counted, 8), 1);
    Ok(())
}

const ROOT: u32 = u32::MAX;
const TRAFFIC_HEADER: usize = 20;

fn add_qdisc(index: u32, kind: &str, options: Fields) -> io::Result<()> {
    const RTM_NEWQDISC: u16 = 36;
    let qdisc = traffic(index, 0x1_0000, ROOT, kind, options);
    Netlink::route()?.request(RTM_NEWQDISC, NLM_F_CREATE, qdisc).map(drop)
}

fn traffic(index: u32, handle: u32, parent: u32, kind: &str, options: Fields) -> Fields {
    const TCA_KIND: u16 = 1;
    const TCA_OPTIONS: u16 = 2;
    let kind = [kind.as_bytes(), b"\0"].concat();
    traffic_header(index, handle, parent)
        .attribute(TCA_KIND, &kind)
        .attribute(TCA_OPTIONS, &options.0)
}

/// `struct tcmsg`
fn traffic_header(index: u32, handle: u32, parent: u32) -> Fields {
    Fields::new().u32(0).u32(index).u32(handle).u32(parent).u32(0)
}

/// With the keys of RFC 7748, 6.1.
#[uml_test(config = ["CONFIG_WIREGUARD"])]
fn wireguard_knows_the_public_key_of_a_private_one() -> io::Result<()> {
    const PRIVATE: &str = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
    const PUBLIC: &str = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
    const GET_DEVICE: u8 = 0;
    const SET_DEVICE: u8 = 1;
    const IFINDEX: u16 = 1;
    const PRIVATE_KEY: u16 = 3;
    const PUBLIC_KEY: u16 = 4;
    let index = Netlink::route()?.add_link("wireguard", "wg0")?.to_ne_bytes();
    let generic = Netlink::open(SockProtocol::NetlinkGeneric)?;
    let family = family(&generic, "wireguard")?;
    let command = |command: u8| Fields::new().u8(command).u8(1).u16(0).attribute(IFINDEX, &index);
    let set = command(SET_DEVICE).attribute(PRIVATE_KEY, &from_hexadecimal(PRIVATE));
    generic.request(family, 0, set)?;
    let device = generic.request(family, NLM_F_DUMP, command(GET_DEVICE))?;
    assert_eq!(attribute(&device[4..], PUBLIC_KEY), from_hexadecimal(PUBLIC));
    Ok(())
}

fn from_hexadecimal(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// The number of a family of generic netlink.
fn family(generic: &Netlink, name: &str) -> io::Result<u16> {
    const GENL_ID_CTRL: u16 = 16;
    const GETFAMILY: u8 = 3;
    const FAMILY_ID: u16 = 1;
    const FAMILY_NAME: u16 = 2;
    let name = format!("{name}\0");
    let ask = Fields::new().u8(GETFAMILY).u8(1).u16(0).attribute(FAMILY_NAME, name.as_bytes());
    let said = generic.request(GENL_ID_CTRL, 0, ask)?;
    let id = attribute(&said[4..], FAMILY_ID);
    Ok(u16::from_ne_bytes([id[0], id[1]]))
}

#[uml_test(config = ["CONFIG_TUN"])]
fn a_tunnel_has_a_program_at_its_other_end() -> io::Result<()> {
    const TUNSETIFF: usize = 0x4004_54ca;
    const FLAGS: i32 = libc::IFF_TUN | libc::IFF_NO_PI;
    const HEADERS: usize = 20 + 8;
    let mut tun = File::options().read(true).write(true).open("/dev/net/tun")?;
    // `struct ifreq`
    ioctl(&tun, TUNSETIFF, &mut Fields::new().text("tun0", 16).u16(FLAGS as u16).zeros(22).0)?;
    let (route, index) = (Netlink::route()?, index_of("tun0")?);
    route.add_address(index, Ipv4Addr::new(10, 0, 0, 1), 24)?;
    route.set_up(index)?;

    let socket = UdpSocket::bind("10.0.0.1:0")?;
    socket.connect("10.0.0.2:7")?;
    socket.send(b"echo")?;
    let mut packet = [0; 1500];
    let length = loop {
        let length = tun.read(&mut packet)?;
        // The kernel has things to say to the neighbourhood, too.
        if packet[0] >> 4 == 4 && i32::from(packet[9]) == libc::IPPROTO_UDP {
            break length;
        }
    };
    assert_eq!(&packet[HEADERS..length], b"echo");
    // From there to here: neither checksum changes.
    packet[12..20].rotate_left(4);
    packet[20..24].rotate_left(2);
    tun.write_all(&packet[..length])?;
    let mut received = [0; 8];
    assert_eq!(socket.recv(&mut received)?, 4);
    assert_eq!(&received[..4], b"echo");
    Ok(())
}

#[uml_test(config = ["CONFIG_CAN_RAW", "CONFIG_CAN_VCAN"])]
fn a_can_frame_reaches_others_on_the_bus() -> io::Result<()> {
    let route = Netlink::route()?;
    let index = route.add_link("vcan", "vcan0")?;
    route.set_up(index)?;
    let (mut sender, mut receiver) = (on_can_bus(index)?, on_can_bus(index)?);
    // `struct can_frame`: the identifier, the length, the data.
    let frame = Fields::new().u32(0x123).u8(4).zeros(3).bytes(b"can!").zeros(4).0;
    sender.write_all(&frame)?;
    let mut received = [0; 16];
    receiver.read_exact(&mut received)?;
    assert_eq!(received, frame[..]);
    Ok(())
}

fn on_can_bus(index: u32) -> io::Result<File> {
    let kind = (AddressFamily::Can, SockType::Raw, SockFlag::empty(), SockProtocol::CanRaw);
    let socket: OwnedFd = socket(kind.0, kind.1, kind.2, kind.3)?;
    // `struct sockaddr_can`
    let address = Fields::new().u16(libc::AF_CAN as u16).u16(0).u32(index).zeros(16).0;
    let arguments = [socket.as_raw_fd() as usize, address.as_ptr() as usize, address.len()];
    call(libc::SYS_bind, &arguments)?;
    Ok(socket.into())
}

#[uml_test(config = ["CONFIG_VSOCKETS_LOOPBACK"])]
fn vsock_has_a_loopback() -> io::Result<()> {
    let new = || socket(AddressFamily::Vsock, SockType::Stream, SockFlag::empty(), None);
    let (listener, client) = (new()?, File::from(new()?));
    let address = VsockAddr::new(libc::VMADDR_CID_LOCAL, libc::VMADDR_PORT_ANY);
    bind(listener.as_raw_fd(), &address)?;
    listen(&listener, Backlog::new(1)?)?;
    connect(client.as_raw_fd(), &getsockname::<VsockAddr>(listener.as_raw_fd())?)?;
    let mut server = File::from(accept(&listener)?);
    (&client).write_all(b"hello")?;
    let mut received = [0; 5];
    server.read_exact(&mut received)?;
    assert_eq!(&received, b"hello");
    Ok(())
}

#[uml_test(config = ["CONFIG_NF_TABLES", "CONFIG_NF_TABLES_IPV4"])]
fn nftables_keeps_packets_from_leaving() -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let to = socket.local_addr()?;
    assert_eq!(socket.send_to(b"x", to)?, 1);
    drop_all_output()?;
    assert_eq!(socket.send_to(b"x", to).unwrap_err().raw_os_error(), Some(libc::EPERM));
    Ok(())
}

/// A table with a chain that has no rule, but a policy.
fn drop_all_output() -> io::Result<()> {
    const BATCH_BEGIN: u16 = 16;
    const BATCH_END: u16 = 17;
    const SUBSYSTEM: u16 = 10;
    const NEWTABLE: u16 = SUBSYSTEM << 8;
    const NEWCHAIN: u16 = (SUBSYSTEM << 8) + 3;
    const LOCAL_OUT: u32 = 3;
    const NF_DROP: u32 = 0;
    const NLM_F_ACK: u16 = 4;
    // `struct nfgenmsg`
    let header = |family: i32| Fields::new().u8(family as u8).u8(0);
    let batch = || header(libc::AF_UNSPEC).u16(SUBSYSTEM.to_be());
    let table = header(libc::AF_INET).u16(0).attribute(1, b"filter\0");
    let hook = Fields::new().attribute(1, &LOCAL_OUT.to_be_bytes()).attribute(2, &[0; 4]);
    let chain = header(libc::AF_INET)
        .u16(0)
        .attribute(1, b"filter\0")
        .attribute(3, b"output\0")
        .nested(4, hook)
        .attribute(5, &NF_DROP.to_be_bytes())
        .attribute(7, b"filter\0");
    let netfilter = Netlink::open(SockProtocol::NetlinkNetFilter)?;
    let messages = [
        message(BATCH_BEGIN, 0, batch()),
        message(NEWTABLE, NLM_F_CREATE | NLM_F_ACK, table),
        message(NEWCHAIN, NLM_F_CREATE | NLM_F_ACK, chain),
        message(BATCH_END, 0, batch()),
    ];
    netfilter.send(&messages.concat())?;
    netfilter.answer()?;
    netfilter.answer().map(drop)
}
