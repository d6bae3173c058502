//! What programs share memory with the kernel for, and what the kernel computes for them: io_uring, userfaultfd, memory
//! files, BPF, hashes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use uml_test::uml_test;

use crate::sys::{Fields, Mapped, call, call_fd, ioctl, u32_at, u64_at};

const PAGE: usize = 4096;

#[uml_test(config = ["CONFIG_IO_URING"])]
fn io_uring_completes_what_is_submitted() -> io::Result<()> {
    const OFFSET_CQ: usize = 0x0800_0000;
    const OFFSET_SQES: usize = 0x1000_0000;
    const GETEVENTS: usize = 1;
    const NOP: u8 = 0;
    // `struct io_uring_params`: ten words, then ten with offsets of each ring.
    let mut parameters = [0; 120];
    let arguments = [1, parameters.as_mut_ptr() as usize];
    let ring = call_fd(libc::SYS_io_uring_setup, &arguments)?;
    let offset = |ring: usize, word: usize| u32_at(&parameters, 40 * ring + 4 * word) as usize;
    let submission = Mapped::shared(&ring, PAGE, 0)?;
    let entries = Mapped::shared(&ring, PAGE, OFFSET_SQES)?;
    let completion = Mapped::shared(&ring, PAGE, OFFSET_CQ)?;
    entries.write(0, NOP);
    entries.write(32, 4711_u64); // user_data
    submission.write(offset(1, 6), 0_u32); // array
    submission.write(offset(1, 1), 1_u32); // tail
    let enter = [ring.as_raw_fd() as usize, 1, 1, GETEVENTS, 0, 0];
    assert_eq!(call(libc::SYS_io_uring_enter, &enter)?, 1);
    let completed = offset(2, 5);
    assert_eq!(completion.read::<u32>(offset(2, 1)), 1, "the tail");
    assert_eq!(completion.read::<u64>(completed), 4711);
    assert_eq!(completion.read::<i32>(completed + 8), 0);
    Ok(())
}

#[uml_test(config = ["CONFIG_USERFAULTFD"])]
fn userfaultfd_has_a_page_filled_by_the_program() -> io::Result<()> {
    const API: usize = 0xc018_aa3f;
    const REGISTER: usize = 0xc020_aa00;
    const COPY: usize = 0xc028_aa03;
    const MISSING: u64 = 1;
    const PAGEFAULT: u8 = 0x12;
    let faults = call_fd(libc::SYS_userfaultfd, &[libc::O_CLOEXEC as usize])?;
    ioctl(&faults, API, &mut Fields::new().u64(0xaa).zeros(16).0)?;
    let memory = Mapped::anonymous(PAGE)?;
    let at = memory.address() as u64;
    let mut range = Fields::new().u64(at).u64(PAGE as u64).u64(MISSING).zeros(8);
    ioctl(&faults, REGISTER, &mut range.0)?;

    let reading = std::thread::spawn(move || memory.read::<u8>(7));
    // `struct uffd_msg`: the event; of a fault the address behind flags.
    let mut message = [0; 32];
    let mut faults = File::from(faults);
    faults.read_exact(&mut message)?;
    assert_eq!(message[0], PAGEFAULT);
    assert_eq!(u64_at(&message, 16) & !(PAGE as u64 - 1), at);
    let content = [b'!'; PAGE];
    let mut copy = Fields::new().u64(at).u64(content.as_ptr() as u64).u64(PAGE as u64).zeros(16);
    ioctl(&faults, COPY, &mut copy.0)?;
    assert_eq!(reading.join().unwrap(), b'!');
    Ok(())
}

#[uml_test(config = ["CONFIG_MEMFD_CREATE"])]
fn a_sealed_memory_file_is_not_written() -> io::Result<()> {
    let mut file = File::from(memfd_create("sealed", MFdFlags::MFD_ALLOW_SEALING)?);
    file.write_all(b"before")?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE))?;
    assert_eq!(file.write_all(b"after").unwrap_err().raw_os_error(), Some(libc::EPERM));
    Ok(())
}

/// bpf(2), where it makes a descriptor.
fn bpf_fd(command: usize, attributes: &Fields) -> io::Result<OwnedFd> {
    let attributes = &attributes.0;
    call_fd(libc::SYS_bpf, &[command, attributes.as_ptr() as usize, attributes.len()])
}

#[uml_test(config = ["CONFIG_BPF_SYSCALL"])]
fn a_bpf_map_keeps_values() -> io::Result<()> {
    const MAP_CREATE: usize = 0;
    const MAP_LOOKUP_ELEM: usize = 1;
    const MAP_UPDATE_ELEM: usize = 2;
    const HASH: u32 = 1;
    // The kind, the sizes of keys and values, how many.
    let map = bpf_fd(MAP_CREATE, &Fields::new().u32(HASH).u32(4).u32(8).u32(1))?;
    let element = |command: usize, key: u32, value: &mut u64| {
        let [key, value] = [&raw const key as u64, &raw mut *value as u64];
        let attributes = Fields::new().u64(map.as_raw_fd() as u64).u64(key).u64(value).u64(0).0;
        call(libc::SYS_bpf, &[command, attributes.as_ptr() as usize, attributes.len()])
    };
    element(MAP_UPDATE_ELEM, 1, &mut 4711)?;
    let mut value = 0;
    element(MAP_LOOKUP_ELEM, 1, &mut value)?;
    assert_eq!(value, 4711);
    let full = element(MAP_UPDATE_ELEM, 2, &mut 0).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(libc::E2BIG));
    Ok(())
}

#[uml_test(config = ["CONFIG_BPF_SYSCALL"])]
fn a_bpf_program_filters_what_a_socket_receives() -> io::Result<()> {
    const PROG_LOAD: usize = 5;
    const SOCKET_FILTER: u32 = 1;
    // r0 = 3; exit: three bytes pass.
    let program = [0x3_0000_00b7_u64, 0x95];
    let license = c"GPL";
    let attributes = Fields::new()
        .u32(SOCKET_FILTER)
        .u32(program.len() as u32)
        .u64(program.as_ptr() as u64)
        .u64(license.as_ptr() as u64);
    let program = bpf_fd(PROG_LOAD, &attributes)?;
    let (sender, receiver) = UnixDatagram::pair()?;
    let value = program.as_raw_fd().to_ne_bytes();
    let [socket, level, option] = [receiver.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_BPF];
    let arguments = [socket as usize, level as usize, option as usize];
    let value = [value.as_ptr() as usize, value.len()];
    call(libc::SYS_setsockopt, &[&arguments[..], &value].concat())?;
    sender.send(b"abcdef")?;
    let mut received = [0; 8];
    let length = receiver.recv(&mut received)?;
    assert_eq!(&received[..length], b"abc");
    Ok(())
}

#[uml_test(config = ["CONFIG_CRYPTO_USER_API_HASH", "CONFIG_CRYPTO_SHA256"])]
fn a_socket_computes_a_hash() -> io::Result<()> {
    // `struct sockaddr_alg`: the family, the kind, flags, the name.
    let address = Fields::new().u16(libc::AF_ALG as u16).text("hash", 14).zeros(8);
    let address = address.text("sha256", 64).0;
    let algorithm = [libc::AF_ALG, libc::SOCK_SEQPACKET, 0].map(|number| number as usize);
    let algorithm = call_fd(libc::SYS_socket, &algorithm)?;
    let fd = algorithm.as_raw_fd() as usize;
    call(libc::SYS_bind, &[fd, address.as_ptr() as usize, address.len()])?;
    let mut operation = File::from(call_fd(libc::SYS_accept, &[fd, 0, 0])?);
    operation.write_all(b"abc")?;
    let mut hash = [0; 32];
    operation.read_exact(&mut hash)?;
    assert_eq!(hash[..4], [0xba, 0x78, 0x16, 0xbf]);
    Ok(())
}
