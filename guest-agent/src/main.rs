//! The agent's binary; see the library.

fn main() -> std::process::ExitCode {
    uml_test_agent::main()
}
