//! Bounds how deeply a VRL program is nested, before anything recursive sees it.
//!
//! VRL's parser, compiler and interpreter recurse without a limit of their own: a program of 4 KB can overflow the stack, which ends the process, on each
//! node that the runner reaches. Its compiler's time doubles with each call within a call. This count is never below the true depth: it takes every operator
//! of a statement for a level. Not here: whether the program is sound.

/// Levels within one another, operators of a statement included: a chain of some hundred `else if`. [`STACK_BYTES`] is enough for it, tested.
const LEVELS_MAX: usize = 500;
/// Calls within one another: about 0.1 s to compile.
const CALLS_MAX: usize = 10;
/// The stack of a thread that compiles or runs programs; only what is touched takes memory.
pub(crate) const STACK_BYTES: usize = 16 << 20;

/// Tokens of two bytes, so that they count once.
const PAIRS: [&[u8]; 9] = [b"==", b"!=", b"&&", b"||", b"??", b"<=", b">=", b"|=", b"->"];

/// Errors: it is nested too deeply, and where; for people.
pub(super) fn check(program: &str) -> Result<(), String> {
    let mut count = Count { levels: vec![Level::default()], depth: 0, calls: 0, after_operator: false, after_line: false };
    let bytes = program.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let end = token_end(bytes, at);
        count.take(&bytes[at..end], is_call(bytes, at));
        if count.depth > LEVELS_MAX || count.calls > CALLS_MAX {
            let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
            return Err(match count.calls > CALLS_MAX {
                true => format!("line {line}: more than {CALLS_MAX} calls within one another: give the inner ones names (`x = …`)"),
                false => format!("line {line}: more than {LEVELS_MAX} operators and brackets within one another: make it several statements"),
            });
        }
        at = end;
    }
    Ok(())
}

struct Count {
    /// The open brackets, below them the program itself.
    levels: Vec<Level>,
    /// Brackets and steps of all levels.
    depth: usize,
    calls: usize,
    after_operator: bool,
    after_line: bool,
}

#[derive(Default)]
struct Level {
    /// Of the statement, element or argument that it is in.
    steps: usize,
    call: bool,
}

impl Count {
    fn take(&mut self, token: &[u8], call: bool) {
        match token[0] {
            b'\n' => self.after_line = true,
            byte if byte.is_ascii_whitespace() || byte == b'#' => {}
            b',' | b';' => {
                self.next_statement();
                self.after_operator = false;
            }
            b'(' | b'[' | b'{' => {
                self.begin();
                self.levels.push(Level { steps: 0, call });
                self.depth += 1;
                self.calls += usize::from(call);
            }
            b')' | b']' | b'}' if self.levels.len() > 1 => {
                self.next_statement();
                let closed = self.levels.pop().expect("it was counted");
                self.depth -= 1;
                self.calls -= usize::from(closed.call);
                (self.after_operator, self.after_line) = (false, false);
            }
            b'.' => {
                self.begin();
                self.step();
            }
            byte if is_operator(byte) => {
                self.step();
                (self.after_operator, self.after_line) = (true, false);
            }
            _ if token == b"else" => {
                self.step();
                (self.after_operator, self.after_line) = (true, false);
            }
            _ => {
                self.begin();
                if token == b"if" {
                    self.step();
                }
            }
        }
    }

    /// What is neither an operator nor a separator: it begins a statement, if the line before has ended one.
    fn begin(&mut self) {
        if self.after_line && !self.after_operator {
            self.next_statement();
        }
        (self.after_operator, self.after_line) = (false, false);
    }

    fn step(&mut self) {
        self.top().steps += 1;
        self.depth += 1;
    }

    fn next_statement(&mut self) {
        self.depth -= std::mem::take(&mut self.top().steps);
    }

    fn top(&mut self) -> &mut Level {
        self.levels.last_mut().expect("the program's own level is never closed")
    }
}

/// The end of the token at `at`: a word, a literal text, a comment, an operator, or one byte.
fn token_end(bytes: &[u8], at: usize) -> usize {
    let after_word = at > 0 && is_word(bytes[at - 1]);
    match bytes[at] {
        b'#' => bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length),
        b'"' => text_end(bytes, at + 1, b'"'),
        b's' | b'r' | b't' if bytes.get(at + 1) == Some(&b'\'') && !after_word => text_end(bytes, at + 2, b'\''),
        byte if is_word(byte) => bytes[at..].iter().position(|byte| !is_word(*byte)).map_or(bytes.len(), |length| at + length),
        _ if bytes.get(at..at + 2).is_some_and(|pair| PAIRS.contains(&pair)) => at + 2,
        _ => at + 1,
    }
}

fn text_end(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// Whether the bracket at `at` holds arguments: `name(` or `name!(`.
fn is_call(bytes: &[u8], at: usize) -> bool {
    let before = bytes[..at].strip_suffix(b"!").unwrap_or(&bytes[..at]);
    bytes[at] == b'(' && before.last().is_some_and(|byte| is_word(*byte))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'@'
}

fn is_operator(byte: u8) -> bool {
    matches!(byte, b'!' | b'=' | b'+' | b'-' | b'*' | b'/' | b'%' | b'&' | b'|' | b'?' | b'<' | b'>')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_not_too_deep() {
        let branches: String = (0..120).map(|n| format!("else if .code == {n} {{\n  .word = \"{n}\" # one of many\n}} ")).collect();
        check(&format!("if .code == -1 {{ .word = \"none\" }} {branches}")).unwrap();
        check(&".a = to_int(.b) ?? 0\n.tags.x = [1, {\"k\": .c}]\n".repeat(5_000)).unwrap();
        check(&format!(".list = [{}]", "{\"a\": 1, \"b\": !true},\n".repeat(2_000))).unwrap();
        check(". = parse_json(.message) ??\n  parse_syslog(.message) ??\n  {}\n").unwrap();
        // Brackets in texts and comments are no brackets.
        check(&".a = \"((((\\\"((\"\n.b = r'[[(((\\'((' # ((((\n".repeat(200)).unwrap();
    }

    #[test]
    fn what_is_too_deep_is_told_with_its_line() {
        let deep = LEVELS_MAX + 1;
        for program in [
            format!(".a = {}1{}", "(".repeat(deep), ")".repeat(deep)),
            format!(".a = {}1{}", "[".repeat(deep), "]".repeat(deep)),
            format!(".a = {}1{}", "{\"a\":".repeat(deep), "}".repeat(deep)),
            format!(".a = {}true", "!".repeat(deep)),
            format!("{}1", ".a = ".repeat(deep)),
            format!(".a = 1{}", "\n + 1".repeat(deep)),
            format!(".a = 1{}", " +\n 1".repeat(deep)),
            format!(".a{} = 1", ".b".repeat(deep)),
            format!("if true {{ 1 }} {}", "else if true { 1 }\n".repeat(deep)),
            // A text must not close what it is in.
            format!(".a = {}1{}", "(\"))\" + ".repeat(deep), ")".repeat(deep)),
            format!(".a = {}1{}", "(s'))' + ".repeat(deep), ")".repeat(deep)),
        ] {
            let told = check(&format!(".ok = 1\n{program}")).expect_err(&program[..40]);
            assert!(told.starts_with("line ") && told.contains("several statements"), "{told}");
        }
        let calls = format!(".a = {}1{}", "string!(".repeat(CALLS_MAX + 1), ")".repeat(CALLS_MAX + 1));
        assert!(check(&calls).unwrap_err().starts_with("line 1: more than 10 calls"));
    }
}
