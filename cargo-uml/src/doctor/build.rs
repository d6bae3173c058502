//! What building kernels needs. Guests run without it.

use super::finding::Finding;
use crate::kernel::apt::Apt;
use crate::kernel::tools;

const TOOLS: &str = "build tools";
const MIRROR: &str = "package mirror";

pub(crate) fn tools() -> Finding {
    let missing = tools::missing(&tools::BUILD);
    if missing.is_empty() {
        return match tools::compiler(&[]) {
            Ok(compiler) => Finding::ok(TOOLS, format!("all there; {compiler}")),
            Err(error) => Finding::warning(TOOLS, error.to_string(), "mend the compiler"),
        };
    }
    let (names, remedy) = tools::explain(&missing);
    Finding::warning(TOOLS, format!("no kernel can be built without {names}"), remedy)
}

/// Asks the mirror that the machine's apt is configured with for kernel sources.
pub(crate) fn mirror() -> Finding {
    let offer = Apt::new(&std::env::temp_dir()).and_then(|apt| apt.find_source(None));
    match offer {
        Ok(package) => Finding::ok(MIRROR, format!("offers {} {}", package.name, package.version)),
        Err(error) => Finding::warning(
            MIRROR,
            error.to_string(),
            "pass a Linux source tree or tarball to `cargo uml setup --source`",
        ),
    }
}
