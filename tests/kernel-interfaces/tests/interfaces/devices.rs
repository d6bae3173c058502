//! Loop devices, the device mapper, simulated GPIO and keys, terminals.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::pty::openpty;
use nix::sys::termios::tcgetattr;
use uml_test::uml_test;

use crate::sys::{Fields, ioctl, ioctl_number, owned, u32_at, u64_at};

const SECTOR: usize = 512;

fn read_and_write(path: impl AsRef<Path>) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// A loop device over a new file of this content.
fn loop_device(file: &str, content: &[u8]) -> io::Result<PathBuf> {
    const LOOP_CTL_GET_FREE: usize = 0x4c82;
    const LOOP_SET_FD: usize = 0x4c00;
    fs::write(file, content)?;
    let number = ioctl_number(&File::open("/dev/loop-control")?, LOOP_CTL_GET_FREE, 0)?;
    let path = PathBuf::from(format!("/dev/loop{number}"));
    let backing = read_and_write(file)?;
    ioctl_number(&read_and_write(&path)?, LOOP_SET_FD, backing.as_raw_fd() as usize)?;
    Ok(path)
}

#[uml_test(config = ["CONFIG_BLK_DEV_LOOP"])]
fn a_loop_device_is_its_file() -> io::Result<()> {
    let device = read_and_write(loop_device("/tmp/image", &[b'a'; 8 * SECTOR])?)?;
    let mut sector = [0; SECTOR];
    device.read_exact_at(&mut sector, SECTOR as u64)?;
    assert_eq!(sector, [b'a'; SECTOR]);
    device.write_all_at(&[b'b'; SECTOR], SECTOR as u64)?;
    device.sync_all()?;
    let image = fs::read("/tmp/image")?;
    assert_eq!(image[..SECTOR], [b'a'; SECTOR]);
    assert_eq!(image[SECTOR..2 * SECTOR], [b'b'; SECTOR]);
    Ok(())
}

/// A device of the device mapper: of each of its parts the kind, the parameters and the length in sectors.
fn mapped(parts: &[(&str, String, u64)]) -> io::Result<File> {
    const DEV_CREATE: usize = 3;
    const DEV_SUSPEND: usize = 6;
    const TABLE_LOAD: usize = 9;
    const HEADER: usize = 312;
    let control = read_and_write("/dev/mapper/control")?;
    let command = |number: usize, count: usize, table: Fields| {
        // `struct dm_ioctl`: the version, sizes, how many targets, the name.
        let [length, start] = [HEADER + table.0.len(), HEADER].map(|size| size as u32);
        let header = Fields::new().u32(4).u32(0).u32(0).u32(length).u32(start).u32(count as u32);
        let mut all = header.zeros(24).text("test", HEADER - 48).bytes(&table.0).0;
        ioctl(&control, 0xc138_fd00 + number, &mut all)?;
        io::Result::Ok(u64_at(&all, 40))
    };
    let device = command(DEV_CREATE, 0, Fields::new())?;
    let (mut table, mut start) = (Fields::new(), 0);
    for (kind, parameters, length) in parts {
        // `struct dm_target_spec`: where, the status, how far to the next, the kind; the parameters.
        let room = (parameters.len() + 1).next_multiple_of(8);
        let target = Fields::new().u64(start).u64(*length).u32(0).u32(40 + room as u32);
        table = table.bytes(&target.text(kind, 16).text(parameters, room).0);
        start += length;
    }
    command(TABLE_LOAD, parts.len(), table)?;
    // Without the flag it resumes.
    command(DEV_SUSPEND, 0, Fields::new())?;
    let minor = device & 0xff;
    read_and_write(format!("/dev/dm-{minor}"))
}

#[uml_test(config = ["CONFIG_BLK_DEV_DM", "CONFIG_DM_ZERO", "CONFIG_BLK_DEV_LOOP"])]
fn the_device_mapper_puts_devices_together() -> io::Result<()> {
    let content = [[b'a'; 8 * SECTOR], [b'b'; 8 * SECTOR]].concat();
    let disk = loop_device("/tmp/image", &content)?;
    let mut device =
        mapped(&[("zero", String::new(), 8), ("linear", format!("{} 8", disk.display()), 8)])?;
    let mut read = Vec::new();
    device.read_to_end(&mut read)?;
    assert!(read == [[0; 8 * SECTOR], [b'b'; 8 * SECTOR]].concat());
    Ok(())
}

#[uml_test(config = ["CONFIG_DM_CRYPT", "CONFIG_CRYPTO_XTS", "CONFIG_BLK_DEV_LOOP"])]
fn dm_crypt_writes_no_plain_text() -> io::Result<()> {
    let disk = loop_device("/tmp/image", &[0; 8 * SECTOR])?;
    let key = "0123456789abcdef".repeat(8);
    let parameters = format!("aes-xts-plain64 {key} 0 {} 0", disk.display());
    let mut device = mapped(&[("crypt", parameters, 8)])?;
    device.write_all(&[b'p'; 8 * SECTOR])?;
    device.sync_all()?;
    let image = fs::read("/tmp/image")?;
    assert!(!image.windows(4).any(|window| window == b"pppp" || window == [0; 4]));
    let mut read = [0; 8 * SECTOR];
    device.read_exact_at(&mut read, 0)?;
    assert_eq!(read, [b'p'; 8 * SECTOR]);
    Ok(())
}

#[uml_test(config = ["CONFIG_GPIO_SIM", "CONFIG_GPIO_CDEV_V1", "CONFIG_CONFIGFS_FS"])]
fn a_simulated_line_is_pulled_up() -> io::Result<()> {
    const GET_LINE_HANDLE: usize = 0xc16c_b403;
    const GET_LINE_VALUES: usize = 0xc040_b408;
    const INPUT: u32 = 1;
    let bank = Path::new("/sys/kernel/config/gpio-sim/test/bank");
    let device = bank.parent().unwrap();
    fs::create_dir(device)?;
    fs::create_dir(bank)?;
    fs::write(bank.join("num_lines"), "8")?;
    fs::write(device.join("live"), "1")?;
    let read = |path: PathBuf| fs::read_to_string(path).map(|text| text.trim().to_owned());
    let chip = read(bank.join("chip_name"))?;
    let name = read(device.join("dev_name"))?;

    // `struct gpiohandle_request`: the lines, flags, values, label, how many lines, a descriptor.
    let lines = Fields::new().u32(3).zeros(63 * 4).u32(INPUT).zeros(64 + 32).u32(1).u32(0);
    let mut request = lines.0;
    ioctl(&read_and_write(format!("/dev/{chip}"))?, GET_LINE_HANDLE, &mut request)?;
    let line = owned(u32_at(&request, request.len() - 4) as usize);
    let value = || {
        let mut values = [0; 64];
        ioctl(&line, GET_LINE_VALUES, &mut values).map(|_| values[0])
    };
    assert_eq!(value()?, 0);
    fs::write(format!("/sys/devices/platform/{name}/{chip}/sim_gpio3/pull"), "pull-up")?;
    assert_eq!(value()?, 1);
    Ok(())
}

#[uml_test(config = ["CONFIG_INPUT_UINPUT", "CONFIG_INPUT_EVDEV"])]
fn a_simulated_key_is_pressed() -> io::Result<()> {
    const SET_EVBIT: usize = 0x4004_5564;
    const SET_KEYBIT: usize = 0x4004_5565;
    const DEV_SETUP: usize = 0x405c_5503;
    const DEV_CREATE: usize = 0x5501;
    const GET_SYSNAME: usize = 0x8040_552c;
    const EV_KEY: u16 = 1;
    const KEY_A: u16 = 30;
    let mut keyboard = read_and_write("/dev/uinput")?;
    ioctl_number(&keyboard, SET_EVBIT, EV_KEY.into())?;
    ioctl_number(&keyboard, SET_KEYBIT, KEY_A.into())?;
    // `struct uinput_setup`: numbers, the name, effects.
    let mut setup = Fields::new().zeros(8).text("keys", 80).u32(0);
    ioctl(&keyboard, DEV_SETUP, &mut setup.0)?;
    ioctl_number(&keyboard, DEV_CREATE, 0)?;
    let mut name = [0; 64];
    ioctl(&keyboard, GET_SYSNAME, &mut name)?;
    let name = String::from_utf8_lossy(&name);
    let directory = format!("/sys/devices/virtual/input/{}", name.trim_end_matches('\0'));
    let names = fs::read_dir(directory)?.map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    let event = names.into_iter().find(|name| name.starts_with("event")).unwrap();
    let mut events = File::open(format!("/dev/input/{event}"))?;
    // `struct input_event`: the time, the kind, the key, the value. The second one ends a report.
    let pressed = Fields::new().zeros(16).u16(EV_KEY).u16(KEY_A).u32(1).0;
    keyboard.write_all(&pressed)?;
    keyboard.write_all(&[0; 24])?;
    let mut event = [0; 24];
    events.read_exact(&mut event)?;
    assert_eq!(event[16..], pressed[16..]);
    Ok(())
}

#[uml_test(config = ["CONFIG_UNIX98_PTYS"])]
fn a_pseudoterminal_edits_lines() -> io::Result<()> {
    let pty = openpty(None, None)?;
    let erase = tcgetattr(&pty.slave)?.control_chars[libc::VERASE];
    let (mut master, mut slave) = (File::from(pty.master), File::from(pty.slave));
    master.write_all(&[b'a', b'x', erase, b'b', b'\n'])?;
    let mut line = [0; 16];
    let length = slave.read(&mut line)?;
    assert_eq!(&line[..length], b"ab\n");
    Ok(())
}
