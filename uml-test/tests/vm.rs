//! `Vm` on a real kernel.
use uml_test::Vm;

#[test]
fn runs_commands() {
    let t = std::time::Instant::now();
    let vm = match Vm::builder().boot() {
        Ok(vm) => vm,
        Err(e) => panic!("{e}"),
    };
    eprintln!("boot {:?}", t.elapsed());
    let output = vm
        .command("sh")
        .args(["-c", "id; hostname; mount; ls /dev; ls /; cat; dmesg | tail -3; exit 3"])
        .stdin("hello\n")
        .output()
        .unwrap();
    eprintln!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    eprintln!("{:?}", output.status);
    vm.shutdown().unwrap();
    eprintln!("all {:?}", t.elapsed());
}

#[uml_test::uml_test]
fn one() {
    println!("hello from pid {}", std::process::id());
    assert!(std::path::Path::new("/proc/1/exe").exists());
}

#[uml_test::uml_test]
#[should_panic(expected = "boo")]
fn two() {
    panic!("boo {}", 1);
}
