//! A test that writes much.

use std::io::Write;

/// How much, in MiB; the bench knows it too.
const MIB: usize = 64;

#[uml_test::uml_test]
fn writes() -> std::io::Result<()> {
    let chunk = vec![b'x'; 1 << 20];
    let mut stdout = std::io::stdout().lock();
    for _ in 0..MIB {
        stdout.write_all(&chunk)?;
    }
    stdout.flush()
}
