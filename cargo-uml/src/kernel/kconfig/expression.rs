//! Kconfig's conditions: `A && (!B || C = "text")`.

use std::collections::HashMap;
use std::fmt;

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// A symbol, without `CONFIG_`.
    Symbol(String),
    /// A quoted word.
    Text(String),
    /// A test of the tools, `$(...)`, whose result is not known here.
    Macro(String),
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Compare(String, Box<Expression>, Box<Expression>),
}

/// Kconfig's three values, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tristate {
    No,
    Module,
    Yes,
}

/// The assignments of a resolved `.config`, with the prefix `CONFIG_`.
pub(super) type Values<'a> = HashMap<&'a str, &'a str>;

impl Expression {
    /// `None` if the text is no condition.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: &tokens };
        let expression = parser.or()?;
        parser.tokens.is_empty().then_some(expression)
    }

    /// `None` where a macro decides.
    pub(super) fn value(&self, values: &Values<'_>) -> Option<Tristate> {
        use Expression::{And, Compare, Macro, Not, Or, Symbol, Text};
        use Tristate::{Module, No, Yes};
        match self {
            Symbol(_) | Text(_) => Some(match self.word(values) {
                "y" => Yes,
                "m" => Module,
                _ => No,
            }),
            Macro(_) => None,
            Not(inner) => inner.value(values).map(|value| match value {
                No => Yes,
                Module => Module,
                Yes => No,
            }),
            And(left, right) => match (left.value(values), right.value(values)) {
                (Some(No), _) | (_, Some(No)) => Some(No),
                (Some(left), Some(right)) => Some(left.min(right)),
                (None, _) | (_, None) => None,
            },
            Or(left, right) => match (left.value(values), right.value(values)) {
                (Some(Yes), _) | (_, Some(Yes)) => Some(Yes),
                (Some(left), Some(right)) => Some(left.max(right)),
                (None, _) | (_, None) => None,
            },
            Compare(operator, left, right) => {
                if matches!((&**left, &**right), (Macro(_), _) | (_, Macro(_))) {
                    return None;
                }
                let (left, right) = (left.word(values), right.word(values));
                let number = |text: &str| {
                    text.strip_prefix("0x")
                        .map_or_else(|| text.parse().ok(), |hex| i64::from_str_radix(hex, 16).ok())
                };
                let order = match (number(left), number(right)) {
                    (Some(left), Some(right)) => left.cmp(&right),
                    _ => left.cmp(right),
                };
                let holds = match operator.as_str() {
                    "=" => order.is_eq(),
                    "!=" => order.is_ne(),
                    "<" => order.is_lt(),
                    "<=" => order.is_le(),
                    ">" => order.is_gt(),
                    _ => order.is_ge(),
                };
                Some(if holds { Yes } else { No })
            }
        }
    }

    /// A symbol's value, or a word itself. What is no symbol's name, such as `y` or `200000`, stands for itself.
    fn word<'a>(&'a self, values: &Values<'a>) -> &'a str {
        match self {
            Expression::Symbol(name) if is_constant(name) => name,
            Expression::Symbol(name) => values
                .get(format!("CONFIG_{name}").as_str())
                .map_or("n", |value| value.trim_matches('"')),
            Expression::Text(text) => text,
            _ => "n",
        }
    }
}

pub(super) fn is_constant(name: &str) -> bool {
    matches!(name, "y" | "m" | "n")
        || name.starts_with(|first: char| first.is_ascii_digit() || first == '-')
}

impl fmt::Display for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Expression::{And, Compare, Macro, Not, Or, Symbol, Text};
        let group = |inner: &Expression| match inner {
            And(..) | Or(..) | Compare(..) => format!("({inner})"),
            _ => inner.to_string(),
        };
        // && binds more tightly, so only an || inside needs its parentheses.
        let part = |inner: &Expression| match inner {
            Or(..) => format!("({inner})"),
            _ => inner.to_string(),
        };
        match self {
            Symbol(name) | Macro(name) => formatter.write_str(name),
            Text(text) => write!(formatter, "\"{text}\""),
            Not(inner) => write!(formatter, "!{}", group(inner)),
            And(left, right) => write!(formatter, "{} && {}", part(left), part(right)),
            Or(left, right) => write!(formatter, "{left} || {right}"),
            Compare(operator, left, right) => write!(formatter, "{left} {operator} {right}"),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(Expression),
    Operator(String),
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (token, length) = if rest.starts_with("$(") {
            let length = closing(rest)?;
            (Token::Word(Expression::Macro(rest[..length].to_owned())), length)
        } else if let Some(quote) = rest.chars().next().filter(|first| matches!(first, '"' | '\''))
        {
            let length = rest[1..].find(quote)?;
            (Token::Word(Expression::Text(rest[1..=length].to_owned())), length + 2)
        } else if let Some(operator) = ["&&", "||", "!=", "<=", ">=", "!", "=", "<", ">", "(", ")"]
            .into_iter()
            .find(|operator| rest.starts_with(operator))
        {
            (Token::Operator(operator.to_owned()), operator.len())
        } else {
            let is_word = |letter: char| letter.is_ascii_alphanumeric() || "_-./".contains(letter);
            let length = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
            if length == 0 {
                return None;
            }
            (Token::Word(Expression::Symbol(rest[..length].to_owned())), length)
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

/// The length of the `$(...)` that the text starts with.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' if depth == 1 => return Some(at + 1),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

struct Parser<'a> {
    tokens: &'a [Token],
}

impl Parser<'_> {
    fn take(&mut self, operators: &[&str]) -> Option<String> {
        match self.tokens.first() {
            Some(Token::Operator(operator)) if operators.contains(&operator.as_str()) => {
                self.tokens = &self.tokens[1..];
                Some(operator.clone())
            }
            _ => None,
        }
    }

    fn or(&mut self) -> Option<Expression> {
        let mut left = self.and()?;
        while self.take(&["||"]).is_some() {
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        Some(left)
    }

    fn and(&mut self) -> Option<Expression> {
        let mut left = self.not()?;
        while self.take(&["&&"]).is_some() {
            left = Expression::And(Box::new(left), Box::new(self.not()?));
        }
        Some(left)
    }

    fn not(&mut self) -> Option<Expression> {
        if self.take(&["!"]).is_some() {
            return Some(Expression::Not(Box::new(self.not()?)));
        }
        if self.take(&["("]).is_some() {
            let inner = self.or()?;
            self.take(&[")"])?;
            return Some(inner);
        }
        let left = self.word()?;
        match self.take(&["=", "!=", "<", "<=", ">", ">="]) {
            Some(operator) => {
                Some(Expression::Compare(operator, Box::new(left), Box::new(self.word()?)))
            }
            None => Some(left),
        }
    }

    fn word(&mut self) -> Option<Expression> {
        let (Token::Word(word), rest) = self.tokens.split_first()? else { return None };
        self.tokens = rest;
        Some(word.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<Tristate> {
        let values = HashMap::from([
            ("CONFIG_A", "y"),
            ("CONFIG_M", "m"),
            ("CONFIG_TEXT", "\"abc\""),
            ("CONFIG_GCC_VERSION", "120200"),
        ]);
        Expression::parse(text).unwrap_or_else(|| panic!("{text}")).value(&values)
    }

    #[test]
    fn evaluates_as_kconfig_does() {
        use Tristate::{Module, No, Yes};
        for (text, expected) in [
            ("A", Yes),
            ("B", No),
            ("!B && A", Yes),
            ("A && M", Module),
            ("!M", Module),
            ("B || M && A", Module),
            ("(B || A) && !B", Yes),
            ("A=n || A = y", Yes),
            ("M != y", Yes),
            ("GCC_VERSION >= 90000", Yes),
            ("GCC_VERSION < 90000", No),
            ("TEXT = \"abc\"", Yes),
            ("B && $(cc-option,-f(x))", No),
        ] {
            assert_eq!(value(text), Some(expected), "{text}");
        }
        assert_eq!(value("A && $(success,test -e x)"), None);
    }

    #[test]
    fn is_shown_as_written() {
        for text in ["A && (B || !C)", "!(A && B) || C = \"x\"", "A && $(cc-option,-O2)"] {
            assert_eq!(Expression::parse(text).unwrap().to_string(), text);
        }
        for text in ["A &&", "(A", "A B", "&", ""] {
            assert_eq!(Expression::parse(text), None, "{text}");
        }
    }
}
