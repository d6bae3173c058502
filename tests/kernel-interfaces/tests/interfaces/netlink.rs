//! Netlink: requests with an answer, and those of rtnetlink that tests of networks begin with.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

use crate::sys::{Fields, u32_at};

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;

pub(crate) struct Netlink(OwnedFd);

impl Netlink {
    pub(crate) fn open(protocol: SockProtocol) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        Ok(Self(socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?))
    }

    pub(crate) fn route() -> io::Result<Self> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    /// What a request is answered by, without the acknowledgement.
    pub(crate) fn request(&self, kind: u16, flags: u16, body: Fields) -> io::Result<Vec<u8>> {
        self.send(&message(kind, flags | NLM_F_ACK, body))?;
        self.answer()
    }

    pub(crate) fn send(&self, messages: &[u8]) -> io::Result<()> {
        send(self.0.as_raw_fd(), messages, MsgFlags::empty())?;
        Ok(())
    }

    /// The bodies of what comes before an acknowledgement.
    pub(crate) fn answer(&self) -> io::Result<Vec<u8>> {
        let mut bodies = Vec::new();
        let mut buffer = [0; 32 << 10];
        loop {
            let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            let mut left = &buffer[..length];
            while !left.is_empty() {
                let length = u32_at(left, 0) as usize;
                match u16::from_ne_bytes([left[4], left[5]]) {
                    NLMSG_ERROR | NLMSG_DONE => {
                        return match u32_at(left, HEADER) as i32 {
                            0 => Ok(bodies),
                            error => Err(io::Error::from_raw_os_error(-error)),
                        };
                    }
                    _ => bodies.extend(&left[HEADER..length]),
                }
                left = &left[length.next_multiple_of(4).min(left.len())..];
            }
        }
    }

    /// A new network device, and its index.
    pub(crate) fn add_link(&self, kind: &str, name: &str) -> io::Result<u32> {
        const RTM_NEWLINK: u16 = 16;
        const IFLA_IFNAME: u16 = 3;
        const IFLA_LINKINFO: u16 = 18;
        const IFLA_INFO_KIND: u16 = 1;
        let info = Fields::new().attribute(IFLA_INFO_KIND, kind.as_bytes());
        let link = link_header(0, 0)
            .attribute(IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat())
            .nested(IFLA_LINKINFO, info);
        self.request(RTM_NEWLINK, NLM_F_CREATE, link)?;
        index_of(name)
    }

    pub(crate) fn set_up(&self, index: u32) -> io::Result<()> {
        const RTM_SETLINK: u16 = 19;
        self.request(RTM_SETLINK, 0, link_header(index, libc::IFF_UP as u32)).map(drop)
    }

    pub(crate) fn add_address(&self, index: u32, ip: Ipv4Addr, prefix: u8) -> io::Result<()> {
        const RTM_NEWADDR: u16 = 20;
        const IFA_LOCAL: u16 = 2;
        let address = Fields::new().u8(libc::AF_INET as u8).u8(prefix).u16(0).u32(index);
        let address = address.attribute(IFA_LOCAL, &ip.octets());
        self.request(RTM_NEWADDR, NLM_F_CREATE, address).map(drop)
    }
}

pub(crate) fn index_of(name: &str) -> io::Result<u32> {
    Ok(if_nametoindex(name)?)
}

/// A whole message of a request.
pub(crate) fn message(kind: u16, flags: u16, body: Fields) -> Vec<u8> {
    let length = (HEADER + body.0.len()) as u32;
    let header = Fields::new().u32(length).u16(kind).u16(flags | NLM_F_REQUEST).u32(0).u32(0);
    let length = body.0.len();
    header.bytes(&body.0).zeros(length.next_multiple_of(4) - length).0
}

/// `struct ifinfomsg`
fn link_header(index: u32, flags: u32) -> Fields {
    Fields::new().u32(0).u32(index).u32(flags).u32(flags)
}

/// The value of the first attribute of a kind among `attributes`.
#[track_caller]
pub(crate) fn attribute(mut attributes: &[u8], kind: u16) -> &[u8] {
    while !attributes.is_empty() {
        let number = |at: usize| u16::from_ne_bytes([attributes[at], attributes[at + 1]]);
        let (length, found) = (usize::from(number(0)), number(2) & 0x3fff);
        if found == kind {
            return &attributes[4..length];
        }
        attributes = &attributes[length.next_multiple_of(4).min(attributes.len())..];
    }
    panic!("no attribute {kind}")
}
