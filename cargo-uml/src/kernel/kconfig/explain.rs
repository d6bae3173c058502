//! Says why Kconfig did not honour a request.

use std::collections::{BTreeSet, HashSet};

use super::expression::{Expression, Tristate, Values, is_constant};
use super::parse::{Definition, Kconfig};
use crate::kernel::fragment::{Dropped, Request, assignments};

/// How far a chain of dependencies is followed.
const DEPTH: usize = 8;

/// The reasons, line by line, each link of a chain indented under the one before. `resolved` is the `.config`.
pub(crate) fn explain(dropped: &Dropped, kconfig: &Kconfig, resolved: &str) -> Vec<String> {
    let Request { option, value, .. } = &dropped.request;
    let name = name(option);
    let mut explainer = Explainer {
        kconfig,
        values: assignments(resolved),
        seen: HashSet::new(),
        lines: Vec::new(),
    };
    let Some(definitions) = kconfig.symbols.get(name) else {
        return vec![explainer.unknown(name)];
    };
    if value == "n" {
        explainer.why_on(name);
    } else {
        explainer.why_off(name, definitions, level(value), 0);
    }
    if explainer.lines.is_empty() {
        explainer
            .lines
            .push("Kconfig gives it a value of its own: check its type and range".to_owned());
    }
    explainer.lines
}

/// More than a person writes by hand: the fragment is the whole configuration of another kernel.
const BY_HAND: usize = 100;

/// Of requests that an option be off, those for options that this kernel does not have, where another name is so near
/// that it may be what was meant: Kconfig takes them for honoured.
pub(crate) fn misspelt(requests: &[Request], kconfig: &Kconfig) -> Vec<String> {
    let unknown: Vec<&Request> = requests
        .iter()
        .filter(|request| request.value == "n" && !request.shipped)
        .filter(|request| !kconfig.symbols.contains_key(name(&request.option)))
        .collect();
    if unknown.len() > BY_HAND {
        return Vec::new();
    }
    let said = |request: &Request| {
        let nearest = nearest(kconfig, name(&request.option))?;
        Some(format!(
            "{}: this kernel has no such option to be off; did you mean CONFIG_{nearest}?",
            request.option
        ))
    };
    unknown.into_iter().filter_map(said).collect()
}

/// An option's name as Kconfig has it.
fn name(option: &str) -> &str {
    option.strip_prefix("CONFIG_").unwrap_or(option)
}

/// The option of this kernel whose name may have been meant.
fn nearest<'a>(kconfig: &'a Kconfig, name: &str) -> Option<&'a str> {
    kconfig
        .symbols
        .keys()
        .map(|known| (strsim::damerau_levenshtein(name, known), known.as_str()))
        .min()
        // More than a quarter of the letters is no typo.
        .filter(|(distance, _)| *distance * 4 <= name.len())
        .map(|(_, known)| known)
}

struct Explainer<'a> {
    kconfig: &'a Kconfig,
    values: Values<'a>,
    seen: HashSet<String>,
    lines: Vec<String>,
}

/// What a request needs of its dependencies. Strings and numbers need them on.
fn level(value: &str) -> Tristate {
    if value == "m" { Tristate::Module } else { Tristate::Yes }
}

impl Explainer<'_> {
    fn say(&mut self, depth: usize, line: String) {
        // Once is enough: several links of a chain often need the same option.
        if self.lines.iter().all(|said| said.trim() != line) {
            self.lines.push(format!("{}{line}", "    ".repeat(depth)));
        }
    }

    fn is_on(&self, name: &str) -> bool {
        self.shown(name) != "n"
    }

    fn shown(&self, name: &str) -> &str {
        self.values.get(format!("CONFIG_{name}").as_str()).copied().unwrap_or("n")
    }

    /// The option is not one of this kernel's; what may have been meant.
    fn unknown(&self, name: &str) -> String {
        match nearest(self.kconfig, name) {
            Some(known) => {
                format!("this kernel has no such option; did you mean CONFIG_{known}?")
            }
            None => "this kernel has no such option for User Mode Linux".to_owned(),
        }
    }

    fn why_on(&mut self, name: &str) {
        let selecting: Vec<&str> = self.selecting(name).filter(|other| self.is_on(other)).collect();
        if !selecting.is_empty() {
            self.say(0, format!("selected by {}", selecting.join(", ")));
        } else if !self.kconfig.has_prompt(name) {
            self.say(0, "it has no prompt, so Kconfig alone decides".to_owned());
        }
    }

    fn selecting<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.kconfig
            .symbols
            .iter()
            .filter(move |(_, definitions)| {
                definitions
                    .iter()
                    .flat_map(|definition| &definition.selects)
                    .any(|other| other == name)
            })
            .map(|(other, _)| other.as_str())
    }

    /// The options that select `name`, directly or through others without a prompt, and can be requested.
    fn turned_on_by(&self, name: &str) -> Vec<String> {
        let mut seen = HashSet::new();
        let mut waiting = vec![name.to_owned()];
        let mut found = BTreeSet::new();
        while let Some(name) = waiting.pop() {
            for other in self.selecting(&name) {
                if self.kconfig.has_prompt(other) {
                    found.insert(other.to_owned());
                } else if seen.insert(other.to_owned()) {
                    waiting.push(other.to_owned());
                }
            }
        }
        found.into_iter().collect()
    }

    /// Why `name` has not the value `wanted`.
    fn why_off(&mut self, name: &str, definitions: &[Definition], wanted: Tristate, depth: usize) {
        if depth > DEPTH || !self.seen.insert(name.to_owned()) {
            return;
        }
        let settable: Vec<&Definition> =
            definitions.iter().filter(|definition| definition.has_prompt).collect();
        // Of several definitions one that could be met is enough; the first stands for all.
        let unmet = |definition: &&Definition| {
            definition
                .depends
                .iter()
                .any(|depends| depends.value(&self.values) != Some(Tristate::Yes))
        };
        let considered =
            if settable.is_empty() { definitions.first() } else { settable.first().copied() };
        let Some(definition) =
            considered.filter(|_| settable.is_empty() || settable.iter().all(unmet))
        else {
            return self.why_alternative(name, &settable, depth);
        };
        if settable.is_empty() {
            let by = match &self.turned_on_by(name)[..] {
                [] => "and nothing turns it on".to_owned(),
                [only] => format!("{only} turns it on"),
                [first, second] => format!("{first} or {second} turn it on"),
                [first, second, rest @ ..] => {
                    format!("{first}, {second} or {} others turn it on", rest.len())
                }
            };
            self.say(depth, format!("{name} can't be requested: it has no prompt, {by}"));
        }
        for depends in definition.depends.clone() {
            self.why_unmet(&depends, wanted, depth);
        }
    }

    /// The dependencies hold, so something else decided.
    fn why_alternative(&mut self, name: &str, settable: &[&Definition], depth: usize) {
        let Some(choice) = settable.iter().find_map(|definition| definition.choice) else { return };
        let taken = self.kconfig.symbols.iter().find(|(other, definitions)| {
            *other != name
                && self.is_on(other)
                && definitions.iter().any(|definition| definition.choice == Some(choice))
        });
        if let Some((other, _)) = taken {
            let line = format!("only one of several can be set, and CONFIG_{other} is");
            self.say(depth, line);
        }
    }

    fn why_unmet(&mut self, condition: &Expression, wanted: Tristate, depth: usize) {
        use Expression::{And, Compare, Macro, Not, Or, Symbol, Text};
        let value = condition.value(&self.values);
        if value.is_some_and(|value| value >= wanted) {
            return;
        }
        match condition {
            And(left, right) => {
                // A test of the tools is to blame only if nothing else is.
                let known = [left, right]
                    .into_iter()
                    .filter(|side| side.value(&self.values).is_some_and(|value| value < wanted));
                let sides: Vec<_> = known.collect();
                let sides = if sides.is_empty() { vec![left, right] } else { sides };
                for side in sides {
                    self.why_unmet(side, wanted, depth);
                }
            }
            Symbol(name) if is_constant(name) => self.say(depth, format!("depends on {name}")),
            Symbol(name) => match self.kconfig.symbols.get(name) {
                Some(definitions) => {
                    let shown = self.shown(name).to_owned();
                    let fits = definitions.iter().any(|definition| {
                        definition.has_prompt
                            && definition
                                .depends
                                .iter()
                                .all(|depends| depends.value(&self.values) == Some(Tristate::Yes))
                    });
                    let remedy =
                        if fits { format!(": request CONFIG_{name}=y") } else { String::new() };
                    self.say(depth, format!("depends on {name}, which is {shown}{remedy}"));
                    self.why_off(name, definitions, wanted, depth + 1);
                }
                None => self.say(
                    depth,
                    format!(
                        "depends on {name}, which User Mode Linux of this version does not have"
                    ),
                ),
            },
            Or(..) => {
                self.say(depth, format!("depends on {condition}, none of which holds"));
                for side in alternatives(condition) {
                    self.why_unmet(side, wanted, depth + 1);
                }
            }
            Not(inner) => {
                let line = match &**inner {
                    Symbol(name) => {
                        format!("depends on !{name}, and {name} is {}", self.shown(name))
                    }
                    _ => format!("depends on {condition}"),
                };
                self.say(depth, line);
            }
            Compare(_, left, _) => {
                let line = match &**left {
                    Symbol(name) => {
                        format!("depends on {condition}, and {name} is {}", self.shown(name))
                    }
                    _ => format!("depends on {condition}"),
                };
                self.say(depth, line);
            }
            Macro(test) => self.say(depth, format!("depends on {test}, a test of the build tools")),
            Text(text) => self.say(depth, format!("depends on \"{text}\"")),
        }
    }
}

/// The sides of `A || B || C`.
fn alternatives(condition: &Expression) -> Vec<&Expression> {
    match condition {
        Expression::Or(left, right) => [alternatives(left), alternatives(right)].concat(),
        other => vec![other],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fragment::{self, Fragment};

    const KCONFIG: &str = "\
config NET\n\tbool \"Networking\"\n\
menu \"Devices\"\n\tdepends on NET\n\
config ETHERNET\n\tbool \"Ethernet\"\n\tdepends on HAS_DMA || UML_PCI\n\
config UML_PCI\n\tbool\n\
config FORCE_PCI\n\tbool\n\tselect UML_PCI\n\
config PCI_DRIVER\n\tbool \"PCI\"\n\tselect FORCE_PCI\n\
config CARD\n\ttristate \"A card\"\n\tdepends on ETHERNET && $(cc-option,-fx)\n\
endmenu\n\
config SMP\n\tbool \"Processors\"\n\
config TIME_TRAVEL\n\tbool \"Time travel\"\n\tdepends on !SMP\n\
choice\n\tprompt \"Allocator\"\nconfig SLUB\n\tbool \"SLUB\"\nconfig SLOB\n\tbool \"SLOB\"\nendchoice\n\
config KASAN\n\tbool \"KASAN\"\n\tdepends on GCC_VERSION >= 90000 && NET\n\
config COMPILER\n\tbool \"Compiler\"\n\tdepends on NET && $(success,x)\n";

    fn kconfig() -> Kconfig {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("Kconfig"), KCONFIG).unwrap();
        Kconfig::read(tree.path())
    }

    fn requests(text: &str) -> Vec<Request> {
        let fragment = Fragment { label: "x".into(), text: text.into(), shipped: false };
        fragment::requests(&[fragment], &"7.2".parse().unwrap()).unwrap()
    }

    fn because(request: &str, resolved: &str) -> Vec<String> {
        let dropped = fragment::dropped(&requests(request), &"7.2".parse().unwrap(), resolved);
        explain(&dropped[0], &kconfig(), resolved)
    }

    #[test]
    fn names_the_chain_of_unmet_dependencies() {
        assert_eq!(
            because("CONFIG_CARD=y", ""),
            [
                "depends on ETHERNET, which is n",
                "    depends on HAS_DMA || UML_PCI, none of which holds",
                "        depends on HAS_DMA, which User Mode Linux of this version does not have",
                "        depends on UML_PCI, which is n",
                "            UML_PCI can't be requested: it has no prompt, PCI_DRIVER turns it on",
                "            depends on NET, which is n: request CONFIG_NET=y",
            ]
        );
    }

    #[test]
    fn says_what_excludes_an_option() {
        assert_eq!(
            because("CONFIG_TIME_TRAVEL=y", "CONFIG_SMP=y"),
            ["depends on !SMP, and SMP is y"]
        );
        assert_eq!(
            because("CONFIG_SLOB=y", "CONFIG_SLUB=y"),
            ["only one of several can be set, and CONFIG_SLUB is"]
        );
        assert_eq!(
            because("CONFIG_KASAN=y", "CONFIG_NET=y\nCONFIG_GCC_VERSION=80000"),
            ["depends on GCC_VERSION >= 90000, and GCC_VERSION is 80000"]
        );
        assert_eq!(
            because("CONFIG_COMPILER=y", "CONFIG_NET=y"),
            ["depends on $(success,x), a test of the build tools"]
        );
        assert_eq!(
            because("CONFIG_UML_PCI=n", "CONFIG_UML_PCI=y\nCONFIG_FORCE_PCI=y"),
            ["selected by FORCE_PCI"]
        );
    }

    #[test]
    fn suggests_the_nearest_name() {
        assert_eq!(
            because("CONFIG_ETHRENET=y", ""),
            ["this kernel has no such option; did you mean CONFIG_ETHERNET?"]
        );
        assert_eq!(
            because("CONFIG_SOMETHING_ELSE=y", ""),
            ["this kernel has no such option for User Mode Linux"]
        );
    }

    #[test]
    fn a_mistyped_option_that_is_to_be_off_is_told() {
        let requests = requests(
            "# CONFIG_ETHRENET is not set\nCONFIG_KSAAN=n\nCONFIG_SLUB=n\nCONFIG_SOMETHING_ELSE=n\nCONFIG_NTE=y\n",
        );
        let said = misspelt(&requests, &kconfig());
        let [ethernet, kasan] = &said[..] else { panic!("{said:?}") };
        assert!(
            ethernet.starts_with("CONFIG_ETHRENET: ") && ethernet.ends_with("CONFIG_ETHERNET?")
        );
        assert!(kasan.starts_with("CONFIG_KSAAN: ") && kasan.ends_with("CONFIG_KASAN?"));
    }
}
