//! Kernels' names: links in the cache's `names`.

use std::fmt;
use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::cache::Cache;
use super::entry::Kernel;
use super::lock::CacheLock;
use crate::error::Error;
use crate::report::Reporter;

/// A kernel's name, such as `7.2`, `6.1/debug+smp` or `mine`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(String);

/// What the link to the default kernel is called.
pub(crate) const DEFAULT: &str = "default";

impl Name {
    /// Letters, digits and `._+-`, the first a letter or digit, with at most one `/` before such a part.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let is_part = |part: &str| {
            part.starts_with(|first: char| first.is_ascii_alphanumeric())
                && part
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || "._+-".contains(letter))
        };
        if text.split('/').count() <= 2 && text.split('/').all(is_part) {
            return Ok(Name(text.to_owned()));
        }
        Err(Error::BadName { name: text.to_owned() })
    }

    /// `default` is a link too, but no name to build under.
    pub(crate) fn parse_own(text: &str) -> Result<Self, Error> {
        let name = Self::parse(text)?;
        if name.0 == DEFAULT { Err(Error::BadName { name: name.0 }) } else { Ok(name) }
    }

    /// The name of a kernel that nobody named: `7.2`, or `7.2/debug+smp`.
    pub(crate) fn of_build(series: (u32, u32), parts: &[String]) -> Result<Self, Error> {
        let mut parts = parts.to_vec();
        parts.sort();
        parts.dedup();
        let (major, minor) = series;
        if parts.is_empty() {
            return Self::parse(&format!("{major}.{minor}"));
        }
        Self::parse(&format!("{major}.{minor}/{}", parts.join("+")))
    }

    fn file_name(&self) -> String {
        self.0.replace('/', ":")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Cache {
    /// All names with the ids of their kernels, sorted; not `default`.
    pub(crate) fn all_names(&self) -> Vec<(Name, String)> {
        let entries = fs::read_dir(self.names()).into_iter().flatten().flatten();
        let mut names: Vec<(Name, String)> = entries
            .filter_map(|entry| {
                let name = Name::parse(&entry.file_name().to_str()?.replace(':', "/")).ok()?;
                let id = self.target(&name)?;
                (name.0 != DEFAULT).then_some((name, id))
            })
            .collect();
        names.sort();
        names
    }

    /// The names of the kernel with this id.
    pub(crate) fn names_of(&self, id: &str) -> Vec<String> {
        self.all_names()
            .into_iter()
            .filter(|(_, target)| target == id)
            .map(|(name, _)| name.to_string())
            .collect()
    }

    /// Whether nothing refers to the kernel any more, as to one of an earlier state of a tree.
    pub(crate) fn is_nameless(&self, kernel: &Kernel) -> bool {
        !self.is_default(kernel) && self.names_of(&kernel.id()).is_empty()
    }

    /// The id of the kernel that the name stands for.
    pub(crate) fn target(&self, name: &Name) -> Option<String> {
        let target = fs::read_link(self.names().join(name.file_name())).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    /// The id of the default kernel, which may be gone.
    pub(crate) fn default_id(&self) -> Option<String> {
        self.target(&Name(DEFAULT.to_owned()))
    }

    pub(crate) fn is_default(&self, kernel: &Kernel) -> bool {
        self.default_id().is_some_and(|id| id == kernel.id())
    }

    /// Gives `kernel` the name. A first kernel becomes the default. The default follows a name that it was the default
    /// under, but not to source of the user's own unless it was of such before: it is what other projects' tests boot.
    /// A name that moves to another source is told.
    pub(crate) fn set_name(
        &self,
        name: &Name,
        kernel: &Kernel,
        lock: &CacheLock,
        reporter: &Reporter,
    ) -> Result<(), Error> {
        let is_there = |id: &String| self.kernels().join(id).is_dir();
        let default = self.default_id().filter(is_there);
        let target = self.target(name);
        if target.as_ref() != Some(&kernel.id()) {
            self.link(name, kernel, lock)?;
        }
        let replaced = target.filter(|id| *id != kernel.id() && is_there(id));
        let before = replaced.as_ref().and_then(|id| Kernel::read(&self.kernels().join(id)));
        let was_default = replaced.is_some() && replaced == default;
        let follows = was_default && may_follow(before.as_ref(), kernel);
        if default.is_none() || follows {
            self.set_default(kernel, lock)?;
        }
        let is_same_source = |before: &Kernel| kernel.metadata.has_source_of(&before.metadata);
        if let Some(id) = replaced
            && !before.as_ref().is_some_and(is_same_source)
        {
            reporter.note(format_args!(
                "{name} is {}\n{name} was {}",
                shown(&kernel.id(), Some(kernel)),
                shown(&id, before.as_ref())
            ));
            if follows {
                reporter.note("The default, which was that, follows");
            } else if was_default {
                reporter.note(format_args!(
                    "That stays the default; `cargo uml kernel default {name}` chooses the new one"
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn set_default(&self, kernel: &Kernel, lock: &CacheLock) -> Result<(), Error> {
        if self.is_default(kernel) {
            return Ok(());
        }
        self.link(&Name(DEFAULT.to_owned()), kernel, lock)
    }

    /// Removes the name; whether there was one.
    pub(crate) fn unname(&self, name: &Name, _: &CacheLock) -> Result<bool, Error> {
        let path = self.names().join(name.file_name());
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("remove", &path)(error)),
        }
    }

    /// Removes the default's link if it points nowhere.
    pub(crate) fn drop_dangling(&self, lock: &CacheLock) -> Result<(), Error> {
        let all = self.all_names().into_iter().map(|(name, _)| name);
        for name in all.chain([Name(DEFAULT.to_owned())]) {
            if let Some(id) = self.target(&name)
                && !self.kernels().join(id).is_dir()
            {
                self.unname(&name, lock)?;
            }
        }
        Ok(())
    }

    /// By a rename, so that a reader sees the old kernel or the new one.
    fn link(&self, name: &Name, kernel: &Kernel, _: &CacheLock) -> Result<(), Error> {
        let names = self.names();
        fs::create_dir_all(&names).map_err(Error::io("create", &names))?;
        let staging = TempDir::with_prefix_in(".new-", &names)
            .map_err(Error::io("create a directory in", &names))?;
        let staged = staging.path().join("link");
        symlink(format!("../kernels/{}", kernel.id()), &staged)
            .map_err(Error::io("create", &staged))?;
        let path = names.join(name.file_name());
        fs::rename(&staged, &path).map_err(Error::io("create", &path))
    }
}

/// Whether a default may follow its name from the kernel before to this one.
fn may_follow(before: Option<&Kernel>, kernel: &Kernel) -> bool {
    let provenance = kernel.metadata.provenance;
    !provenance.is_users_own()
        || before.is_some_and(|before| before.metadata.provenance == provenance)
}

/// A kernel for messages, with where it comes from.
fn shown(id: &str, kernel: Option<&Kernel>) -> String {
    let Some(Kernel { metadata, .. }) = kernel else { return format!("{id} (damaged)") };
    let path = metadata.path_of_source().map_or_else(String::new, |path| format!(", {path}"));
    format!("{id} ({}{path})", metadata.provenance)
}

#[cfg(test)]
mod tests {
    use uml_test::kernel_name;

    use super::*;

    #[test]
    fn names_are_what_a_shell_and_a_file_take() {
        for name in ["7.2", "6.1/debug+smp", "distro", "my-kernel_2", "7.2.12-1a2b3c4d5e6f"] {
            assert_eq!(Name::parse(name).unwrap().to_string(), name);
        }
        for name in ["", "/", "a/b/c", ".hidden", "-x", "a b", "a:b", "../x", "a/", "ü"] {
            assert!(Name::parse(name).is_err(), "{name}");
        }
        assert!(Name::parse_own("default").is_err());
    }

    #[test]
    fn a_build_is_named_after_series_and_flavours() {
        let name = |parts: &[&str]| {
            let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            Name::of_build((7, 2), &parts).map(|name| name.to_string()).ok()
        };
        assert_eq!(name(&[]).as_deref(), Some("7.2"));
        let both = name(&["smp", "debug", "smp"]).unwrap();
        assert_eq!(both, "7.2/debug+smp");
        assert_eq!(both, kernel_name::usual("7.2/smp+debug"), "so it is looked up");
        assert_eq!(name(&["a b"]), None);
    }
}
