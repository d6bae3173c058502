//! Reads Kconfig files: which symbols there are, and what each depends on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::expression::Expression;
use crate::kernel::identity;

/// The symbols of a kernel tree as User Mode Linux has them, without `CONFIG_`.
#[derive(Debug, Default)]
pub(crate) struct Kconfig {
    pub(super) symbols: BTreeMap<String, Vec<Definition>>,
    choices: usize,
    /// What was read.
    texts: Vec<String>,
}

/// One definition of a symbol; there may be several.
#[derive(Debug, Default, Clone)]
pub(super) struct Definition {
    /// All must hold: its own `depends on`, and those of the menus and ifs around it.
    pub(super) depends: Vec<Expression>,
    /// Whether it can be set by a request.
    pub(super) has_prompt: bool,
    /// Symbols that it turns on.
    pub(super) selects: Vec<String>,
    /// The choice that it is an alternative of.
    pub(super) choice: Option<usize>,
}

/// What the lines being read belong to.
enum Block {
    If(Expression),
    /// A menu or choice, with its conditions.
    Group {
        depends: Vec<Expression>,
        choice: Option<usize>,
    },
}

/// Where attributes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Symbol,
    Group,
    Nothing,
}

struct Reader<'a> {
    tree: &'a Path,
    kconfig: Kconfig,
    blocks: Vec<Block>,
    current: Option<(String, Definition)>,
    target: Target,
}

impl Kconfig {
    /// Reads the tree's `Kconfig` and all that it includes. What can't be read or understood is left out: this explains
    /// an error, and must not add one.
    pub(crate) fn read(tree: &Path) -> Self {
        let mut reader = Reader {
            tree,
            kconfig: Kconfig::default(),
            blocks: Vec::new(),
            current: None,
            target: Target::Nothing,
        };
        reader.file("Kconfig", 0);
        reader.finish();
        reader.kconfig
    }

    /// Changes when the files do.
    pub(crate) fn identity(&self) -> String {
        identity::of_texts(&self.texts)
    }

    /// Whether requesting the symbol can have an effect.
    pub(crate) fn has_prompt(&self, symbol: &str) -> bool {
        self.symbols
            .get(symbol)
            .is_some_and(|definitions| definitions.iter().any(|definition| definition.has_prompt))
    }
}

impl Reader<'_> {
    fn file(&mut self, name: &str, depth: usize) {
        // What the top makefile sets for ARCH=um.
        let name = name
            .replace("$(SRCARCH)", "um")
            .replace("$(HEADER_ARCH)", "x86")
            .replace("$(srctree)/", "");
        let Ok(text) = fs::read(self.tree.join(&name)) else { return };
        // Deeper than any kernel goes: a file that includes itself.
        if depth > 40 {
            return;
        }
        let text = String::from_utf8_lossy(&text).replace("\\\n", " ");
        let mut help: Option<Option<usize>> = None;
        for line in text.lines() {
            let indentation = indentation(line);
            let trimmed = line.trim();
            // A help text lasts as long as its lines are indented as far as its first.
            if let Some(first) = help {
                if trimmed.is_empty() || indentation >= first.unwrap_or(1) {
                    if first.is_none() && !trimmed.is_empty() {
                        help = Some(Some(indentation));
                    }
                    continue;
                }
                help = None;
            }
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            if matches!(trimmed, "help" | "---help---") {
                help = Some(None);
                continue;
            }
            self.line(trimmed, depth);
        }
        self.kconfig.texts.push(text);
    }

    fn line(&mut self, line: &str, depth: usize) {
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "config" | "menuconfig" => {
                self.finish();
                self.current = Some((rest.to_owned(), Definition::default()));
                self.target = Target::Symbol;
            }
            "choice" | "menu" => {
                self.finish();
                let choice = (word == "choice").then_some(self.kconfig.choices);
                self.kconfig.choices += usize::from(choice.is_some());
                self.blocks.push(Block::Group { depends: Vec::new(), choice });
                self.target = Target::Group;
            }
            "if" => {
                self.finish();
                // Unreadable ones hold: better no reason than a wrong one.
                let condition =
                    Expression::parse(rest).unwrap_or_else(|| Expression::Symbol("y".to_owned()));
                self.blocks.push(Block::If(condition));
            }
            "endif" | "endmenu" | "endchoice" => {
                self.finish();
                self.blocks.pop();
            }
            "comment" | "mainmenu" => self.finish(),
            "source" => {
                self.finish();
                self.file(rest.trim_matches('"'), depth + 1);
                self.finish();
            }
            _ => self.attribute(word, rest),
        }
    }

    fn attribute(&mut self, word: &str, rest: &str) {
        let depends = (word == "depends")
            .then(|| rest.strip_prefix("on").and_then(Expression::parse))
            .flatten();
        match self.target {
            Target::Group => {
                if let (Some(depends), Some(Block::Group { depends: all, .. })) =
                    (depends, self.blocks.last_mut())
                {
                    all.push(depends);
                }
            }
            Target::Symbol => {
                let Some((_, definition)) = &mut self.current else { return };
                match word {
                    "depends" => definition.depends.extend(depends),
                    "bool" | "tristate" | "string" | "hex" | "int" | "prompt"
                        if !rest.is_empty() =>
                    {
                        definition.has_prompt = true;
                        // A prompt's condition is one of the request, not of the symbol; for this it is the same.
                        definition.depends.extend(condition_of_prompt(rest));
                    }
                    "select" => {
                        definition.selects.extend(rest.split_whitespace().next().map(str::to_owned))
                    }
                    _ => {}
                }
            }
            Target::Nothing => {}
        }
    }

    /// Files the symbol that was being read.
    fn finish(&mut self) {
        self.target = Target::Nothing;
        let Some((name, mut definition)) = self.current.take() else { return };
        for block in &self.blocks {
            match block {
                Block::If(condition) => definition.depends.push(condition.clone()),
                Block::Group { depends, choice } => {
                    definition.depends.extend(depends.iter().cloned());
                    definition.choice = choice.or(definition.choice);
                }
            }
        }
        self.kconfig.symbols.entry(name).or_default().push(definition);
    }
}

/// Columns, with tabs of eight.
fn indentation(line: &str) -> usize {
    let mut column = 0;
    for letter in line.chars() {
        match letter {
            ' ' => column += 1,
            '\t' => column = (column / 8 + 1) * 8,
            _ => break,
        }
    }
    column
}

/// `B` in `"text" if B`.
fn condition_of_prompt(prompt: &str) -> Option<Expression> {
    let quote = prompt.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    let end = prompt[1..].find(quote)? + 2;
    Expression::parse(prompt[end..].trim().strip_prefix("if ")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_symbol_depends_on() {
        let tree = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = tree.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "Kconfig",
            "mainmenu \"x\"\nsource \"arch/$(SRCARCH)/Kconfig\"\nmenu \"Net\"\n\tdepends on NET\n\
             config VETH\n\ttristate \"Pairs\" if EXPERT\n\tdepends on A && \\\n\t\tB\n\tselect C if D\n\
             \thelp\n\t  config NOT_THIS\n\n\t  depends on nothing\nif !TINY\nconfig C\n\tbool\nendif\n\
             choice\n\tprompt \"one of\"\n\tdepends on CH\nconfig ONE\n\tbool \"one\"\nconfig TWO\n\tbool \"two\"\nendchoice\n\
             endmenu\nconfig LAST\n\tdef_bool y\n",
        );
        write("arch/um/Kconfig", "config UML\n\tbool\n\tdefault y\nsource \"none\"\n");
        let kconfig = Kconfig::read(tree.path());
        let names: Vec<&str> = kconfig.symbols.keys().map(String::as_str).collect();
        assert_eq!(names, ["C", "LAST", "ONE", "TWO", "UML", "VETH"]);
        let depends = |name: &str| {
            let mut all: Vec<String> =
                kconfig.symbols[name][0].depends.iter().map(ToString::to_string).collect();
            all.sort();
            all
        };
        assert_eq!(depends("VETH"), ["A && B", "EXPERT", "NET"]);
        assert_eq!(depends("C"), ["!TINY", "NET"]);
        assert_eq!(depends("ONE"), ["CH", "NET"]);
        assert_eq!(depends("LAST"), [] as [String; 0]);
        assert_eq!(kconfig.symbols["VETH"][0].selects, ["C"]);
        assert_eq!(kconfig.symbols["ONE"][0].choice, kconfig.symbols["TWO"][0].choice);
        assert!(kconfig.has_prompt("VETH") && !kconfig.has_prompt("C") && !kconfig.has_prompt("X"));
    }
}
