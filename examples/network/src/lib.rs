//! A lab of hosts in one kernel: every [`Host`] is a network namespace, cables are veth pairs.
//!
//! A socket belongs to the namespace it is made in, for good. So hosts need no process and no
//! runtime of their own: [`Host::enter`] makes their sockets, and one test drives them all.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use futures_util::TryStreamExt;
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::{LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder};

/// Why a lab can't be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A namespace could not be made or entered.
    #[error("make or enter a network namespace")]
    Namespace(#[from] io::Error),
    /// The kernel refused to change a network.
    #[error("change a network")]
    Netlink(#[from] rtnetlink::Error),
    /// There is no interface of this name.
    #[error("find the interface {0}")]
    NoInterface(String),
}

/// A host: interfaces, addresses, routes, and sockets of its own.
#[derive(Debug)]
pub struct Host {
    namespace: File,
    netlink: rtnetlink::Handle,
}

impl Host {
    /// A host without a cable. It needs a tokio runtime, as all the rest does.
    ///
    /// # Errors
    /// [`Error::Namespace`] without CAP_SYS_ADMIN.
    pub async fn new() -> Result<Self, Error> {
        let namespace = on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        })?;
        let runtime = tokio::runtime::Handle::current();
        let (connection, netlink, _) = in_namespace(&namespace, || {
            let _context = runtime.enter();
            rtnetlink::new_connection()
        })?;
        tokio::spawn(connection);
        let host = Self { namespace, netlink };
        host.set_up("lo").await?;
        Ok(host)
    }

    /// Runs `work` on a thread that is in this host's namespace, and waits for it: it may make
    /// sockets, start programs, and write below /proc/sys/net.
    ///
    /// # Errors
    /// Those of `work`, and that of setns(2).
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        in_namespace(&self.namespace, work)
    }

    /// Lays a cable from the new interface `name` to the new interface `peer_name` of `peer`.
    ///
    /// # Errors
    /// [`Error::Netlink`]: one of them exists.
    pub async fn connect(&self, name: &str, peer: &Self, peer_name: &str) -> Result<(), Error> {
        // Both ends are made on this host, where the peer's name may be taken.
        const ON_THE_WAY: &str = "on-the-way";
        self.netlink.link().add(LinkVeth::new(name, ON_THE_WAY).build()).execute().await?;
        let moved = LinkUnspec::new_with_index(self.index(ON_THE_WAY).await?)
            .setns_by_fd(peer.namespace.as_raw_fd())
            .name(peer_name);
        self.netlink.link().set(moved.build()).execute().await?;
        self.set_up(name).await?;
        peer.set_up(peer_name).await
    }

    /// Makes this host a switch: a bridge `name` with these interfaces as its ports.
    ///
    /// # Errors
    /// [`Error::NoInterface`], [`Error::Netlink`].
    pub async fn bridge(&self, name: &str, ports: &[&str]) -> Result<(), Error> {
        self.netlink.link().add(LinkBridge::new(name).up().build()).execute().await?;
        let bridge = self.index(name).await?;
        for port in ports {
            let message = LinkUnspec::new_with_name(port).controller(bridge).build();
            self.netlink.link().set(message).execute().await?;
        }
        Ok(())
    }

    /// Gives an interface an address and the length of its network's prefix.
    ///
    /// # Errors
    /// [`Error::NoInterface`], [`Error::Netlink`].
    pub async fn add_address(&self, name: &str, ip: Ipv4Addr, prefix: u8) -> Result<(), Error> {
        let index = self.index(name).await?;
        Ok(self.netlink.address().add(index, ip.into(), prefix).execute().await?)
    }

    /// Sends everything that has no nearer way through `gateway`.
    ///
    /// # Errors
    /// [`Error::Netlink`]: the gateway can't be reached.
    pub async fn set_gateway(&self, gateway: Ipv4Addr) -> Result<(), Error> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
        Ok(self.netlink.route().add(route).execute().await?)
    }

    /// Sets the largest packet an interface sends, in bytes.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub async fn set_mtu(&self, name: &str, mtu: u32) -> Result<(), Error> {
        let message = LinkUnspec::new_with_name(name).mtu(mtu).build();
        Ok(self.netlink.link().set(message).execute().await?)
    }

    async fn set_up(&self, name: &str) -> Result<(), Error> {
        let message = LinkUnspec::new_with_name(name).up().build();
        Ok(self.netlink.link().set(message).execute().await?)
    }

    async fn index(&self, name: &str) -> Result<u32, Error> {
        let mut links = self.netlink.link().get().match_name(name).execute();
        let link = links.try_next().await?;
        link.map(|link| link.header.index).ok_or_else(|| Error::NoInterface(name.to_owned()))
    }
}

fn in_namespace<T: Send>(
    namespace: &File,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    on_a_thread(|| {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        work()
    })
}

/// A thread that ends can change its namespace and leave no trace.
fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
