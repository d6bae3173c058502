//! A crate that knows uml-test from its packages only.

#[cfg(test)]
mod tests {
    use uml_test::uml_test;

    #[uml_test]
    fn is_root_in_a_guest() {
        let id = std::process::Command::new("id").arg("-u").output().unwrap();
        assert_eq!(id.stdout, b"0\n");
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(hostname, "uml-test\n");
    }

    #[uml_test]
    #[should_panic(expected = "as it should")]
    fn panics() {
        panic!("as it should");
    }

    #[test]
    fn drives_a_guest() -> Result<(), String> {
        let say = |error: uml_test::Error| error.to_string();
        let vm = uml_test::Vm::builder().mem(64 << 20).boot().map_err(say)?;
        let mut child = vm.command("cat").env("A", "b").stdin("text").spawn().map_err(say)?;
        assert!(child.wait().map_err(say)?.success());
        assert!(child.usage().is_some());
        assert!(vm.command("true").args(["a"]).status().map_err(say)?.success());
        vm.shutdown().map_err(say)
    }
}
